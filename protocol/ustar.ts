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
import { textOf } from "./json.ts";

export const BLOCK = 512;
const WORDS = BLOCK / 4;
const NOT_PRINTABLE = /[^\u0020-\u007e]/;
/** "0" */
const ZERO = 0x30;
const CHECKSUM = 148;
const CHECKSUM_END = 156;

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

/** Into `block` where there is one, whatever it held. */
export function encodeHeader(header: TarHeader, block: Uint8Array = new Uint8Array(BLOCK)): Uint8Array {
  block.set(checksumField(putFields(block, header)), CHECKSUM);
  return block;
}

/** All but the checksum; the sum of all bytes, which is counted as they are put: the agent's engine is slow at a block. */
function putFields(block: Uint8Array, header: TarHeader): number {
  block.set(EMPTY);
  const [prefix, name] = splitPath(header.path);
  let sum = EMPTY_SUM;
  sum += putText(block, 0, 100, name);
  sum += putOctal(block, 100, 8, header.mode);
  sum += putOctal(block, 108, 8, header.uid);
  sum += putOctal(block, 116, 8, header.gid);
  sum += putOctal(block, 124, 12, header.size);
  sum += putOctal(block, 136, 12, header.mtime);
  sum += putText(block, 265, 31, header.uname);
  sum += putText(block, 297, 31, header.gname);
  sum += putText(block, 345, 155, prefix);
  return sum;
}

/** The fields of an empty file without a name: each number is zeros already. */
const EMPTY = new Uint8Array(BLOCK);
for (const [at, width] of [
  [100, 8],
  [108, 8],
  [116, 8],
  [124, 12],
  [136, 12],
  [329, 8],
  [337, 8],
] as const) {
  EMPTY.fill(ZERO, at, at + width - 1);
}
EMPTY[156] = ZERO;
putText(EMPTY, 257, 6, "ustar");
putText(EMPTY, 263, 2, "00");
const EMPTY_SUM = byteSum(EMPTY);

/** Reads one header block; throws ProtocolError unless it is exactly what `encodeHeader` would write. */
export function decodeHeader(block: Uint8Array): TarHeader {
  if (block.length !== BLOCK) throw new ProtocolError(`tar: a header of ${block.length} bytes`);
  if (getText(block, 257, 6) !== "ustar") throw new ProtocolError("tar: not a ustar header");
  const own = new Uint8Array(BLOCK);
  own.set(block);
  own.fill(0, CHECKSUM, CHECKSUM_END);
  if (!checksumField(byteSum(own)).every((byte, at) => byte === block[CHECKSUM + at])) {
    throw new ProtocolError("tar: wrong checksum");
  }
  if (block[156] !== ZERO) throw new ProtocolError(`tar: type flag ${block[156]}, only regular files are accepted`);
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
  const again = new Uint8Array(BLOCK);
  putFields(again, header);
  if (!equalWords(again, own)) {
    const differs = again.findIndex((byte, at) => byte !== own[at]);
    throw new ProtocolError(`tar: header byte ${differs} is not canonical`);
  }
  return header;
}

/** Whether all are zero; by four at once, since most bytes of a bundle are padding and the agent's engine is slow. */
export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += BLOCK) {
    LOOKED_AT.fill(0);
    LOOKED_AT.set(bytes.subarray(at, at + BLOCK));
    if (!equalWords(LOOKED_AT, ZEROS)) return false;
  }
  return true;
}

const ZEROS = new Uint8Array(BLOCK);
/** Not made anew each time: the agent's allocator asks the kernel for what is as large. */
const LOOKED_AT = new Uint8Array(BLOCK);

/** The time that a header says, where it says one. */
export function mtimeOf(block: Uint8Array): number | undefined {
  let mtime = 0;
  for (let at = 136; at < 147; at++) {
    const digit = (block[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 7) return undefined;
    mtime = mtime * 8 + digit;
  }
  return mtime;
}

/** Of two whole blocks, each at the start of a buffer of its own. */
export function equalWords(a: Uint8Array, b: Uint8Array): boolean {
  const [left, right] = [wordsOf(a), wordsOf(b)];
  for (let at = 0; at < WORDS; at++) if (left[at] !== right[at]) return false;
  return true;
}

function wordsOf({ buffer, byteOffset }: Uint8Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, WORDS);
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

/** The sum of what was put. */
function putText(block: Uint8Array, at: number, room: number, text: string): number {
  let sum = 0;
  if (text.length > room) throw new ProtocolError(`tar: "${text.slice(0, 40)}" does not fit in ${room} bytes`);
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code > 0x7e) throw new ProtocolError("tar: text that is not printable ascii");
    block[at + index] = code;
    sum += code;
  }
  return sum;
}

/** Over zeros; what is added to their sum. */
function putOctal(block: Uint8Array, at: number, width: number, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0 || value >= 8 ** (width - 1)) {
    throw new ProtocolError(`tar: number does not fit in ${width - 1} octal digits`);
  }
  let rest = value;
  let sum = 0;
  for (let place = at + width - 2; rest > 0; place--) {
    const digit = rest % 8;
    block[place] = ZERO + digit;
    sum += digit;
    rest = (rest - digit) / 8;
  }
  return sum;
}

function getText(block: Uint8Array, at: number, room: number): string {
  const field = block.subarray(at, at + room);
  const end = field.indexOf(0);
  const text = textOf(end < 0 ? field : field.subarray(0, end));
  const bad = text.search(NOT_PRINTABLE);
  if (bad >= 0) throw new ProtocolError(`tar: header byte ${at + bad} is not printable ascii`);
  return text;
}

function getOctal(block: Uint8Array, at: number, width: number): number {
  const digits = getText(block, at, width);
  if (!/^[0-7]+$/.test(digits)) throw new ProtocolError(`tar: header byte ${at} is not an octal number`);
  return Number.parseInt(digits, 8);
}

/** The checksum's eight bytes, of a header whose other bytes have this sum: these eight count as spaces. */
function checksumField(sum: number): Uint8Array {
  const field = new Uint8Array(8).fill(ZERO, 0, 6);
  putOctal(field, 0, 7, sum + 8 * 0x20);
  field[7] = 0x20;
  return field;
}

/** Of a whole block, as `equalWords` takes it. */
function byteSum(block: Uint8Array): number {
  const words = wordsOf(block);
  let sum = 0;
  for (let at = 0; at < WORDS; at++) {
    const word = words[at] ?? 0;
    if (word !== 0) sum += (word & 0xff) + ((word >>> 8) & 0xff) + ((word >>> 16) & 0xff) + (word >>> 24);
  }
  return sum;
}
