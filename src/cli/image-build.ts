// image build: what a VM has, as one file. On a disk it is sealed, unless its user wants otherwise.
import { HatchwayError } from "#error";
import { ageRecipient, generateAgeKey } from "#keygen/age-identity";
import { parseIdentity } from "#protocol/age-identity";
import { ProtocolError } from "#protocol/error";
import type { Client } from "#client/client";
import { resolve } from "node:path";
import { describeSize, NewFile, readPrivateFile } from "./image-file.ts";
import type { Session } from "./session.ts";

export const FORMATS = ["erofs", "squashfs", "iso", "tar", "sealed"] as const;
type Format = (typeof FORMATS)[number];
/** An identity of age and some comments. */
const MAX_KEY_FILE = 4_096;

export interface ImageFlags {
  format: string;
  out: string;
  label?: string;
  recipient?: string;
  key?: string;
  plain?: true;
}

export async function buildImage(
  session: Session,
  [vm = ""]: readonly string[],
  flags: ImageFlags,
): Promise<undefined> {
  const format = FORMATS.find((one) => one === flags.format);
  if (!format) {
    throw new HatchwayError("invalid", `"${flags.format}" is not a format: ${FORMATS.join(", ")} are`);
  }
  refuseContradictions(format, flags);
  const image = new NewFile(resolve(flags.out));
  let key: NewFile | undefined;
  try {
    const known = flags.key === undefined ? undefined : knownRecipient(resolve(flags.key));
    key = flags.key === undefined || known !== undefined ? undefined : openKey(resolve(flags.key));
    const recipient = known ?? (key ? writeKey(key) : flags.recipient);
    if (recipient === undefined) refuseOpen(format, flags, image);
    await fill(session.client, vm, { format, flags, recipient }, image);
    key?.finish();
    image.finish();
  } catch (error) {
    key?.abandon();
    image.abandon();
    throw error;
  }
  report(
    session,
    vm,
    format,
    image,
    flags.key === undefined ? undefined : { path: resolve(flags.key), made: key !== undefined },
  );
}

function refuseContradictions(format: Format, { plain, recipient, key }: ImageFlags): void {
  if (recipient !== undefined && key !== undefined) {
    throw new HatchwayError("invalid", "--recipient names whom to seal to, and --key makes somebody: one of them");
  }
  if (plain !== true) return;
  if (format === "sealed") throw new HatchwayError("invalid", "--plain is the opposite of --format sealed");
  if (recipient !== undefined || key !== undefined) {
    throw new HatchwayError("invalid", "--plain seals nothing, so that nobody can be named or made to seal it to");
  }
}

function refuseOpen(format: Format, { plain }: ImageFlags, image: NewFile): void {
  if (plain === true || (image.inMemory && format !== "sealed")) return;
  const why = format === "sealed" ? "a sealed image needs" : `"${image.path}" is on a disk, where an image needs`;
  throw new HatchwayError("invalid", `${why} somebody to be sealed to`, {
    hint: "--key FILE, on a tmpfs, makes a key for it; --recipient takes yours; --plain seals nothing",
  });
}

/** With image and key on one disk, the image might as well be open. */
export function openKey(path: string): NewFile {
  const key = new NewFile(path);
  if (key.inMemory) return key;
  key.abandon();
  throw new HatchwayError("invalid", `the key in "${path}" would be on a disk, open to whoever gets it`, {
    hint: "choose a path on a tmpfs, such as /run or /dev/shm",
  });
}

/** Of the key that is in this file already; undefined where there is no such file. */
export function knownRecipient(path: string): string | undefined {
  let text: Buffer | undefined;
  try {
    text = readPrivateFile(path, MAX_KEY_FILE);
    if (text === undefined) return undefined;
    const scalar = parseIdentity(text);
    try {
      return ageRecipient(scalar);
    } finally {
      scalar.fill(0);
    }
  } catch (cause) {
    if (!(cause instanceof ProtocolError)) throw cause;
    throw new HatchwayError("invalid", `"${path}" is there and is no key of age: ${cause.message}`, { cause });
  } finally {
    text?.fill(0);
  }
}

/** Makes a key; answers whom to seal to. */
export function writeKey(file: NewFile): string {
  const { identity, recipient } = generateAgeKey();
  try {
    file.write(identity);
  } finally {
    identity.fill(0);
  }
  return recipient;
}

interface Wanted {
  format: Format;
  flags: ImageFlags;
  recipient: string | undefined;
}

async function fill(client: Client, vm: string, { format, flags, recipient }: Wanted, image: NewFile): Promise<void> {
  const request = {
    format: format === "sealed" ? "tar" : format,
    ...(flags.label !== undefined && { label: flags.label }),
    ...(recipient !== undefined && { recipient }),
  } as const;
  await client.buildImage(vm, request, (bytes) => image.write(bytes));
}

/** The file with the key, and whether it was made with the image. */
interface SealedTo {
  path: string;
  made: boolean;
}

function report(session: Session, vm: string, format: Format, image: NewFile, key: SealedTo | undefined): void {
  const { path, size, inMemory } = image;
  session.report({ vm, format, path, size, in_memory: inMemory, ...(key && { key: key.path }) }, () => {
    const made = `wrote "${path}" (${format}, ${describeSize(image)})`;
    if (!key) return made;
    return `${made}\n${key.made ? "its key is" : "it is sealed to the key in"} "${key.path}": give it to the guest in some other way`;
  });
}
