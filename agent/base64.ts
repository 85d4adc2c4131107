// Base64 (RFC 4648, section 4), decoded from bytes to bytes: a value is never a string.
import { ProtocolError } from "#protocol/error";

const PAD = 0x3d;

/** Padded and canonical, or ProtocolError. The caller wipes what it gets. */
export function decodeBase64(text: Uint8Array): Uint8Array {
  let length = text.length;
  while (length > 0 && text.length - length < 2 && text[length - 1] === PAD) length--;
  if (text.length % 4 !== 0) throw new ProtocolError("base64: its length is not a multiple of 4");
  const bytes = new Uint8Array(Math.floor((length * 6) / 8));
  let held = 0;
  let bits = 0;
  let at = 0;
  for (const code of text.subarray(0, length)) {
    held = ((held << 6) | sextet(code)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes[at++] = held >> bits;
  }
  if ((held & ((1 << bits) - 1)) !== 0) throw new ProtocolError("base64: bits behind its last byte");
  return bytes;
}

function sextet(code: number): number {
  if (code >= 0x41 && code <= 0x5a) return code - 0x41;
  if (code >= 0x61 && code <= 0x7a) return code - 0x61 + 26;
  if (code >= 0x30 && code <= 0x39) return code - 0x30 + 52;
  if (code === 0x2b) return 62;
  if (code === 0x2f) return 63;
  throw new ProtocolError("base64: a character that is none of its 64");
}
