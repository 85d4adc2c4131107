// The bundle of a VM as an image, for people who bring it into the guest themselves.
import { sendBytes } from "#admin/send";
import type { Answer, Ask } from "#admin/route";
import type { ImageRequest } from "#api";
import { encodeBundle } from "#bundle/image";
import { sealImage } from "#bundle/sealed";
import { ageSeal } from "#vault/age";
import type { Vault } from "#vault";
import type { Said } from "#admin/schemas";

export interface ImageParts {
  vault: Vault;
}

/** Sealed where a recipient is named, else as it is. */
export async function buildImage(
  { vault }: ImageParts,
  { caller, name, json, outgoing, signal }: Ask<undefined, Said<ImageRequest> & Pick<ImageRequest, "format">>,
): Promise<Answer> {
  const { format, label, recipient } = json;
  const encoding = encodeBundle(await vault.export(caller, name("name")), format, label);
  if (recipient === undefined) {
    await sendBytes(outgoing, "application/octet-stream", encoding, signal);
    return { status: "sent" };
  }
  const sealed = await sealImage(encoding, format, (plaintext) => ageSeal(recipient, plaintext));
  const whole = { size: sealed.length, writeTo: (sink: (bytes: Uint8Array) => Promise<void>) => sink(sealed) };
  await sendBytes(outgoing, "application/octet-stream", whole, signal);
  return { status: "sent" };
}
