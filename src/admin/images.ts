// The bundle of a VM as an image, for people who bring it into the guest themselves.
import { sendBytes } from "#admin/send";
import { nothing, type Answer, type Ask } from "#admin/route";
import { REVISION_HEADER, type ImageRequest } from "#api-vm";
import type { Bundle } from "#bundle";
import { encodeBundle } from "#bundle/image";
import { sealImage } from "#bundle/sealed";
import type { Caller } from "#caller";
import { ageSeal } from "#vault/age";
import type { Vault } from "#vault";
import type { Said } from "#admin/schemas";

export interface ImageParts {
  vault: Vault;
}

type ImageSaid = Said<ImageRequest> & Pick<ImageRequest, "format">;

/** Sealed where a recipient is named, else as it is; nothing where the caller has it already. */
export async function buildImage(
  { vault }: ImageParts,
  { caller, name, json, outgoing, signal }: Ask<undefined, ImageSaid>,
): Promise<Answer> {
  const { format, label, recipient } = json;
  const bundle = await newerBundle(vault, caller, name("name"), json, signal);
  if (!bundle) return nothing;
  const encoding = encodeBundle(bundle, format, label);
  outgoing.setHeader(REVISION_HEADER, bundle.manifest.revision);
  if (recipient === undefined) {
    await sendBytes(outgoing, "application/octet-stream", encoding, signal);
    return { status: "sent" };
  }
  const sealed = await sealImage(encoding, format, (plaintext) => ageSeal(recipient, plaintext));
  const whole = { size: sealed.length, writeTo: (sink: (bytes: Uint8Array) => Promise<void>) => sink(sealed) };
  await sendBytes(outgoing, "application/octet-stream", whole, signal);
  return { status: "sent" };
}

/** How soon it is looked again after a change, of this VM or another, at the earliest: milliseconds. */
const PAUSE = 50;

/** The VM's bundle as soon as it is another than `have`; undefined when the time is over, or nobody waits any more. */
async function newerBundle(
  vault: Vault,
  caller: Caller,
  vm: string,
  { have, wait = 0 }: Pick<ImageSaid, "have" | "wait">,
  signal: AbortSignal,
): Promise<Bundle | undefined> {
  const deadline = performance.now() + wait * 1000;
  for (;;) {
    const changed = Promise.withResolvers<void>();
    const unwatch = vault.watch(() => changed.resolve());
    try {
      const bundle = await vault.export(caller, vm);
      if (bundle.manifest.revision !== have) return bundle;
      const left = deadline - performance.now();
      if (left <= 0 || signal.aborted || !(await within(changed.promise, left, signal))) return undefined;
    } finally {
      unwatch();
    }
    await within(new Promise(() => undefined), PAUSE, signal);
  }
}

/** Whether `promise` settled before the time was over. */
async function within(promise: Promise<void>, milliseconds: number, signal: AbortSignal): Promise<boolean> {
  const { promise: over, resolve } = Promise.withResolvers<boolean>();
  const stop = (): void => resolve(false);
  const timer = setTimeout(stop, milliseconds);
  signal.addEventListener("abort", stop);
  try {
    return await Promise.race([promise.then(() => true), over]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}
