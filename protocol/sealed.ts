// What stands before an age file in a sealed image, so that a disk or a file is known for one, and known to be whole,
// before any key is tried:
//
//   0   16  "hatchway seal 1\n"
//   16   8  what is sealed: "tar", "erofs", "squashfs" or "iso", then NULs
//   24   8  bytes of the age file, big-endian
//   32  32  SHA-256 of the age file
//   64   …  the age file (https://age-encryption.org/v1), then zeros to a multiple of 512
//
// The digest finds what was cut or damaged; who may have changed it is for age to say.
import { ProtocolError } from "./error.ts";
import { asciiBytes } from "./json.ts";

export const SEAL_HEADER = 64;
/** A disk's size is a multiple of its sectors'. */
export const SEAL_SECTOR = 512;
export const SEALED_FORMATS = ["tar", "erofs", "squashfs", "iso"] as const;
export type SealedFormat = (typeof SEALED_FORMATS)[number];

/** 2 GiB: an image has no more. */
const MAX_LENGTH = 2_147_483_648;
const MAGIC = asciiBytes("hatchway seal 1\n");
const KIND = asciiBytes("hatchway seal ");

export interface SealHeader {
  format: SealedFormat;
  /** Bytes of the age file. */
  length: number;
  /** Its SHA-256. */
  digest: Uint8Array;
}

/** Throws ProtocolError for a length that no reader takes. */
export function encodeSealHeader({ format, length, digest }: SealHeader): Uint8Array {
  if (length < 1 || length > MAX_LENGTH)
    throw new ProtocolError(`sealed image: ${length} bytes, 1 byte to 2 GiB is one`);
  const header = new Uint8Array(SEAL_HEADER);
  header.set(MAGIC);
  header.set(asciiBytes(format), 16);
  for (let at = 0, rest = length; at < 8; at++, rest = Math.floor(rest / 256)) header[31 - at] = rest % 256;
  header.set(digest, 32);
  return header;
}

/** Whether bytes begin as a sealed image does, of whatever version. */
export function isSealed(bytes: Uint8Array): boolean {
  return startsWith(bytes, KIND);
}

/** Reads the first 64 bytes of an image; throws ProtocolError for any that `encodeSealHeader` would not write. */
export function parseSealHeader(bytes: Uint8Array): SealHeader {
  if (!isSealed(bytes)) throw new ProtocolError("sealed image: it does not begin as one");
  if (!startsWith(bytes, MAGIC)) throw new ProtocolError("sealed image: its version is not 1");
  if (bytes.length < SEAL_HEADER) throw new ProtocolError("sealed image: it ends in its header");
  const format = SEALED_FORMATS.find((name) => {
    const padded = new Uint8Array(8);
    padded.set(asciiBytes(name));
    return padded.every((byte, at) => byte === bytes[16 + at]);
  });
  if (format === undefined) throw new ProtocolError(`sealed image: it holds none of ${SEALED_FORMATS.join(", ")}`);
  let length = 0;
  for (let at = 24; at < 32; at++) length = length * 256 + (bytes[at] ?? 0);
  if (length < 1 || length > MAX_LENGTH) throw new ProtocolError("sealed image: its length is not 1 byte to 2 GiB");
  return { format, length, digest: bytes.slice(32, SEAL_HEADER) };
}

function startsWith(bytes: Uint8Array, start: Uint8Array): boolean {
  return start.every((byte, at) => byte === bytes[at]);
}
