// Textual encodings of keys (RFC 7468), written into buffers: a private key is never a string.
import { valueBuffer } from "#value-buffer";

const ALPHABET = Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
const PAD = 0x3d;
const NEWLINE = 0x0a;

/** `bytes` in base64 (RFC 4648, section 4) between the lines that name `label`, `width` characters a line. */
export function pem(label: string, bytes: Uint8Array, width: 64 | 70 = 64): Buffer {
  const head = `-----BEGIN ${label}-----\n`;
  const tail = `-----END ${label}-----\n`;
  const length = 4 * Math.ceil(bytes.length / 3);
  const text = valueBuffer(head.length + length + Math.ceil(length / width) + tail.length);
  let at = text.write(head, "latin1");
  let column = 0;
  const put = (character: number): void => {
    text[at++] = character;
    if (++column < width) return;
    text[at++] = NEWLINE;
    column = 0;
  };
  for (let from = 0; from < bytes.length; from += 3) {
    const present = Math.min(3, bytes.length - from);
    const group = ((bytes[from] ?? 0) << 16) | ((bytes[from + 1] ?? 0) << 8) | (bytes[from + 2] ?? 0);
    for (let sextet = 0; sextet < 4; sextet++) {
      put(sextet > present ? PAD : (ALPHABET[(group >> (18 - 6 * sextet)) & 63] ?? PAD));
    }
  }
  if (column > 0) text[at++] = NEWLINE;
  text.write(tail, at, "latin1");
  return text;
}
