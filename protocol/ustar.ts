// POSIX ustar (IEEE Std 1003.1, pax "ustar Interchange Format"), the part of it that a bundle uses: regular files
// only. A header, 512 bytes:
//
//     0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8 | 156 type "0"
//   157 linkname 100 (zero) | 257 "ustar\0" | 263 "00" | 265 uname 32 | 297 gname 32 | 329 devmajor, devminor 8+8
//   345 prefix 155 | 500 zero 12
//
// Numbers are zero-padded octal ending in NUL; the checksum is six digits, NUL, space. There is one encoding for each
// header, and a header that is not it is refused: what is read is written again and compared, so no two readers can
// see different things in the same bytes.
import { ProtocolError } from "./error.ts";

export const BLOCK = 512;

export interface TarHeader {
  /** At most 255 bytes, split at a slash when over 100. */
  path: string;
  /** Permission bits. */
  mode: number;
  uid: number;
  gid: number;
  /** Empty unless an owner is asked for by name. */
  uname: string;
  gname: string;
  /** Bytes. */
  size: number;
  /** Seconds since 1970. */
  mtime: number;
}

/** Bytes of zero that follow a file of `size` bytes. */
export function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

export function encodeHeader(header: TarHeader): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const [prefix, name] = splitPath(header.path);
  putText(block, 0, 100, name);
  putOctal(block, 100, 8, header.mode);
  putOctal(block, 108, 8, header.uid);
  putOctal(block, 116, 8, header.gid);
  putOctal(block, 124, 12, header.size);
  putOctal(block, 136, 12, header.mtime);
  block[156] = 0x30;
  putText(block, 257, 6, "ustar");
  putText(block, 263, 2, "00");
  putText(block, 265, 31, header.uname);
  putText(block, 297, 31, header.gname);
  putOctal(block, 329, 8, 0);
  putOctal(block, 337, 8, 0);
  putText(block, 345, 155, prefix);
  block.set(checksumField(block), 148);
  return block;
}

/** Reads one header block; throws ProtocolError unless it is exactly what `encodeHeader` would write. */
export function decodeHeader(block: Uint8Array): TarHeader {
  if (block.length !== BLOCK) throw new ProtocolError(`tar: a header of ${block.length} bytes`);
  if (getText(block, 257, 6) !== "ustar") throw new ProtocolError("tar: not a ustar header");
  const field = checksumField(block);
  if (!field.every((byte, at) => byte === block[148 + at])) throw new ProtocolError("tar: wrong checksum");
  if (block[156] !== 0x30) throw new ProtocolError(`tar: type flag ${block[156]}, only regular files are accepted`);
  const prefix = getText(block, 345, 155);
  const name = getText(block, 0, 100);
  const header: TarHeader = {
    path: prefix === "" ? name : `${prefix}/${name}`,
    mode: getOctal(block, 100, 8),
    uid: getOctal(block, 108, 8),
    gid: getOctal(block, 116, 8),
    size: getOctal(block, 124, 12),
    mtime: getOctal(block, 136, 12),
    uname: getText(block, 265, 32),
    gname: getText(block, 297, 32),
  };
  const again = encodeHeader(header);
  const differs = again.findIndex((byte, at) => byte !== block[at] && (at < 148 || at >= 156));
  if (differs >= 0) throw new ProtocolError(`tar: header byte ${differs} is not canonical`);
  return header;
}

/** Name takes as many trailing components as fit in 100 bytes; the rest is the prefix. */
function splitPath(path: string): [prefix: string, name: string] {
  if (path.length <= 100) return ["", path];
  const slash = path.indexOf("/", path.length - 101);
  if (slash < 0 || slash > 155 || slash === path.length - 1) {
    throw new ProtocolError(`tar: path of ${path.length} bytes does not split into prefix and name`);
  }
  return [path.slice(0, slash), path.slice(slash + 1)];
}

function putText(block: Uint8Array, at: number, room: number, text: string): void {
  if (text.length > room) throw new ProtocolError(`tar: "${text.slice(0, 40)}" does not fit in ${room} bytes`);
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code > 0x7e) throw new ProtocolError("tar: text that is not printable ascii");
    block[at + index] = code;
  }
}

function putOctal(block: Uint8Array, at: number, width: number, value: number): void {
  const digits = value.toString(8).padStart(width - 1, "0");
  if (!Number.isSafeInteger(value) || value < 0 || digits.length >= width) {
    throw new ProtocolError(`tar: number does not fit in ${width - 1} octal digits`);
  }
  putText(block, at, width, digits);
}

function getText(block: Uint8Array, at: number, room: number): string {
  let text = "";
  for (let index = at; index < at + room; index++) {
    const byte = block[index] ?? 0;
    if (byte === 0) break;
    if (byte < 0x20 || byte > 0x7e) throw new ProtocolError(`tar: header byte ${index} is not printable ascii`);
    text += String.fromCharCode(byte);
  }
  return text;
}

function getOctal(block: Uint8Array, at: number, width: number): number {
  const digits = getText(block, at, width);
  if (!/^[0-7]+$/.test(digits)) throw new ProtocolError(`tar: header byte ${at} is not an octal number`);
  return Number.parseInt(digits, 8);
}

/** The checksum's eight bytes: the sum of all bytes of the header, where these eight count as spaces. */
function checksumField(block: Uint8Array): Uint8Array {
  let sum = 0;
  for (let at = 0; at < BLOCK; at++) sum += at >= 148 && at < 156 ? 0x20 : (block[at] ?? 0);
  const field = new Uint8Array(8);
  putOctal(field, 0, 7, sum);
  field[7] = 0x20;
  return field;
}
