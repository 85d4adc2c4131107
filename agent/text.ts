// UTF-8 (RFC 3629), since the small engine has no TextEncoder. For names, paths and JSON; never for values.
import { textOf } from "#protocol/json";

export function encodeUtf8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 0x3f));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    else {
      bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    }
  }
  return Uint8Array.from(bytes);
}

/** Bytes that are not UTF-8 become U+FFFD. */
export function decodeUtf8(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length;) {
    // Most text is ASCII, which needs no look at each byte.
    const run = textOf(bytes.subarray(at, at + RUN));
    const plain = run.search(NOT_ASCII);
    if (plain !== 0) {
      parts.push(plain < 0 ? run : run.slice(0, plain));
      at += plain < 0 ? run.length : plain;
      continue;
    }
    const [code, length] = codePoint(bytes, at);
    parts.push(String.fromCodePoint(code ?? 0xfffd));
    at += length;
  }
  return parts.join("");
}

const RUN = 256;
const NOT_ASCII = /[\u0080-\u00ff]/;

/** Whether the bytes are UTF-8, found out without making a string of them. */
export function isUtf8(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length;) {
    const [code, length] = codePoint(bytes, at);
    if (code === undefined) return false;
    at += length;
  }
  return true;
}

/** The code point at an offset, undefined when there is none, and the bytes that it takes. */
function codePoint(bytes: Uint8Array, at: number): [code: number | undefined, length: number] {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return [first, 1];
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  const least = [0, 0, 0x80, 0x800, 0x10000][length] ?? 0;
  let code = first & (0xff >> (length + 1));
  for (let index = 1; index < length; index++) {
    const next = bytes[at + index] ?? 0;
    if ((next & 0xc0) !== 0x80) return [undefined, 1];
    code = (code << 6) | (next & 0x3f);
  }
  const good = first >= 0xc2 && first <= 0xf4 && code >= least && code <= 0x10ffff && (code & 0xfff800) !== 0xd800;
  return good ? [code, length] : [undefined, 1];
}

const HEX = "0123456789abcdef";

export function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += `${HEX[byte >> 4] ?? ""}${HEX[byte & 15] ?? ""}`;
  return text;
}

/** As `hex`, from bytes to bytes: of a key. */
export function hexBytes(bytes: Uint8Array): Uint8Array {
  const digits = new Uint8Array(2 * bytes.length);
  for (const [at, byte] of bytes.entries()) {
    digits[2 * at] = HEX.charCodeAt(byte >> 4);
    digits[2 * at + 1] = HEX.charCodeAt(byte & 15);
  }
  return digits;
}

/** For messages: what is not printable ASCII becomes "?", at most `most` characters. */
export function printable(text: string, most: number): string {
  return text.replaceAll(/[^\u0020-\u007e]/g, "?").slice(0, most);
}
