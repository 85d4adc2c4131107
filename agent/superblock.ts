// What file system a disk has, and its label, from its first bytes. Only those that a bundle comes in; a sealed bundle is on a
// disk as it is.
import { isSealed } from "#protocol/sealed";

export type FileSystem = "erofs" | "squashfs" | "iso9660";

/** What a sealed bundle counts as labelled, which has no place for a label. */
const SEALED_LABEL = "HATCHWAY";

export interface Superblock {
  type: FileSystem | "sealed";
  /** Empty where there is none; SquashFS never has one. */
  label: string;
}

/** ECMA-119: the first volume descriptor is in the sector 16, of 2,048 bytes. */
const ISO = 32_768;
/** Linux, fs/erofs/erofs_fs.h: the superblock, and its volume_name. */
const EROFS = 1_024;
const EROFS_LABEL = 64;

/** Bytes of a disk that `parseSuperblock` wants to see; it may have fewer. */
export const SUPERBLOCK_BYTES: number = ISO + 2_048;

/** Undefined for a disk with none of these file systems. */
export function parseSuperblock(head: Uint8Array): Superblock | undefined {
  if (isSealed(head)) return { type: "sealed", label: SEALED_LABEL };
  if (hasBytes(head, 0, [0x68, 0x73, 0x71, 0x73])) return { type: "squashfs", label: "" };
  if (hasBytes(head, EROFS, [0xe2, 0xe1, 0xf5, 0xe0])) {
    return { type: "erofs", label: textOf(head.subarray(EROFS + EROFS_LABEL, EROFS + EROFS_LABEL + 16), 0) };
  }
  // Type 1 is the primary one; its volume identifier is padded with spaces.
  if (hasBytes(head, ISO, [1, 0x43, 0x44, 0x30, 0x30, 0x31])) {
    return { type: "iso9660", label: textOf(head.subarray(ISO + 40, ISO + 72), 0x20) };
  }
  return undefined;
}

function hasBytes(head: Uint8Array, at: number, bytes: readonly number[]): boolean {
  return bytes.every((byte, index) => head[at + index] === byte);
}

/** Without what pads it at the end. What is no printable ASCII equals no label that can be asked for. */
function textOf(bytes: Uint8Array, pad: number): string {
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === pad) length--;
  return String.fromCharCode(...bytes.subarray(0, length));
}
