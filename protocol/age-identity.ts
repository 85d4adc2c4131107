// An X25519 identity of age, as age-keygen writes it: AGE-SECRET-KEY-1, and a key of 32 bytes in Bech32 (BIP 173). From
// bytes to bytes: it is never a string.
import { ProtocolError } from "./error.ts";
import { asciiBytes } from "./json.ts";

const START = asciiBytes("AGE-SECRET-KEY-1");
const PREFIX = asciiBytes("age-secret-key-");
const CHARACTERS = asciiBytes("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L");
/** Groups of five bits: of 32 bytes, and of the checksum. */
const GROUPS = 52;
const CHECKSUM = 6;
const KEY_BYTES = 32;
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
const LF = 10;
const CR = 13;
const HASH = 0x23;

/** The key of the one identity in a text of lines, comments and empty ones; throws ProtocolError. The caller wipes it. */
export function parseIdentity(text: Uint8Array): Uint8Array {
  const lines = linesOf(text).filter((line) => line.length > 0 && line[0] !== HASH);
  const [line] = lines;
  if (!line || lines.length > 1) throw new ProtocolError(`key: ${lines.length} lines, and it should be one key of age`);
  if (line.length !== START.length + GROUPS + CHECKSUM || !START.every((byte, at) => byte === line[at])) {
    throw new ProtocolError("key: it is not AGE-SECRET-KEY-1 with 58 characters behind it");
  }
  const groups = new Uint8Array(GROUPS + CHECKSUM);
  try {
    for (let at = 0; at < groups.length; at++) {
      const group = CHARACTERS.indexOf(line[START.length + at] ?? 0);
      if (group < 0) throw new ProtocolError("key: a character that is none of Bech32's");
      groups[at] = group;
    }
    if (checksum(groups) !== 1) throw new ProtocolError("key: its checksum does not hold");
    return bytesOf(groups);
  } finally {
    groups.fill(0);
  }
}

/** Views into the text, without the ends of lines. */
function linesOf(text: Uint8Array): Uint8Array[] {
  const lines: Uint8Array[] = [];
  for (let start = 0; start < text.length;) {
    const feed = text.indexOf(LF, start);
    const end = feed < 0 ? text.length : feed;
    lines.push(text.subarray(start, end > start && text[end - 1] === CR ? end - 1 : end));
    start = end + 1;
  }
  return lines;
}

/** 1 for groups that end in their checksum. */
function checksum(groups: Uint8Array): number {
  let sum = 1;
  const add = (group: number): void => {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ group;
    GENERATOR.forEach((term, bit) => {
      if (((top >> bit) & 1) !== 0) sum ^= term;
    });
  };
  for (const byte of PREFIX) add(byte >> 5);
  add(0);
  for (const byte of PREFIX) add(byte & 31);
  for (const group of groups) add(group);
  return sum;
}

function bytesOf(groups: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(KEY_BYTES);
  for (let bit = 0; bit < KEY_BYTES * 8; bit++) {
    const value = ((groups[Math.floor(bit / 5)] ?? 0) >> (4 - (bit % 5))) & 1;
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (value << (7 - (bit & 7)));
  }
  // The last group has four bits more than there are; an encoder leaves them zero.
  if (((groups[GROUPS - 1] ?? 0) & 15) === 0) return bytes;
  bytes.fill(0);
  throw new ProtocolError("key: bits behind its last byte");
}
