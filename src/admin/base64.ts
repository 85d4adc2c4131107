// Base64 (RFC 4648, section 4) inside a JSON string, decoded from the body's bytes straight into the value's buffer.
import { HatchwayError } from "#error";
import { valueBuffer } from "#value-buffer";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const NOT_BASE64 = 255;
const PAD = 254;

const SEXTET = new Uint8Array(256).fill(NOT_BASE64);
for (let index = 0; index < ALPHABET.length; index++) SEXTET[ALPHABET.charCodeAt(index)] = index;
SEXTET["=".charCodeAt(0)] = PAD;

const BACKSLASH = 0x5c;

/**
 * Decodes the inside of a JSON string: the standard alphabet, padded, canonical (the bits after the last byte are
 * zero). Of JSON's escapes it takes those that encoders use for this alphabet: `\/`, `\u002b`, `\u002f`, `\u003d`. The
 * value is the caller's to wipe. Throws HatchwayError "invalid"; the message names an offset and shows nothing of it.
 */
export function decodeBase64(text: Buffer): Buffer {
  const { sextets, pads } = measure(text);
  const value = valueBuffer(Math.floor((sextets * 6) / 8));
  let at = 0;
  let bits = 0;
  let held = 0;
  for (let offset = 0; offset < text.length;) {
    const { code, length } = symbol(text, offset);
    offset += length;
    if (code === PAD) break;
    held = ((held << 6) | code) & 0xfff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    value[at++] = held >> bits;
  }
  if ((held & ((1 << bits) - 1)) !== 0 && pads > 0) {
    value.fill(0);
    throw refused("the bits after its last byte are not zero");
  }
  return value;
}

/** Checks the form and counts, so that the value's buffer has its exact size from the start. */
function measure(text: Buffer): { sextets: number; pads: number } {
  let sextets = 0;
  let pads = 0;
  for (let offset = 0; offset < text.length;) {
    const { code, length } = symbol(text, offset);
    if (code === PAD) pads++;
    else if (code === NOT_BASE64) throw refused(`its character ${offset} is not of the standard alphabet`);
    else if (pads > 0) throw refused(`something follows the padding at ${offset}`);
    else sextets++;
    offset += length;
  }
  if ((sextets + pads) % 4 !== 0 || pads > 2) throw refused("its length with padding is not a multiple of 4");
  return { sextets, pads };
}

/** The six bits that start at `offset`, and how many bytes spell them. */
function symbol(text: Buffer, offset: number): { code: number; length: number } {
  const byte = text[offset] ?? 0;
  if (byte !== BACKSLASH) return { code: SEXTET[byte] ?? NOT_BASE64, length: 1 };
  if (text[offset + 1] === 0x2f) return { code: 63, length: 2 };
  const escape = text[offset + 1] === 0x75 && text[offset + 2] === 0x30 && text[offset + 3] === 0x30;
  const high = text[offset + 4] ?? 0;
  const low = (text[offset + 5] ?? 0) | 0x20;
  if (escape && high === 0x32 && low === 0x62) return { code: 62, length: 6 };
  if (escape && high === 0x32 && low === 0x66) return { code: 63, length: 6 };
  if (escape && high === 0x33 && low === 0x64) return { code: PAD, length: 6 };
  return { code: NOT_BASE64, length: 1 };
}

function refused(why: string): HatchwayError {
  return new HatchwayError("invalid", `data is not base64: ${why}`);
}
