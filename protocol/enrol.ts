// Enrolment: how a guest that was given a token at its boot becomes, over a live channel, the one that may fetch. What stays
// readable in its firmware is worth nothing after that.
//
// The host gives the guest one line of ASCII by a boot channel, its word:
//
//   1.VM.TOKEN.HOST               hex: the VM's id, 16 bytes; a token, 32; the host's public key (X25519), 32
//
// The guest makes a key pair and sends its public key, a nonce, and HMAC-SHA256 by the token over the transcript:
//
//   "hatchway enrol 1\n" | host key 32 | guest key 32 | VM 16 | generation, u64 big-endian | nonce 32
//
// The answer is a claim's key, sealed by ChaCha20-Poly1305 with a nonce of zeros. Its key is HKDF-SHA256 of the X25519 secret
// of both, salted by the token, for "reply\n" and the transcript: so it is of one use, and its tag says who has sealed it.
import { ProtocolError } from "./error.ts";
import { asciiBytes } from "./json.ts";

export const ENROL_KEY_BYTES = 32;
export const VM_ID_BYTES = 16;
const START = asciiBytes("hatchway enrol 1\n");
const REPLY = asciiBytes("reply\n");
const FORMAT = asciiBytes("1.");
const DOT = 0x2e;
const SIZES = [VM_ID_BYTES, ENROL_KEY_BYTES, ENROL_KEY_BYTES] as const;
const WORD_BYTES = FORMAT.length + SIZES.reduce((sum, size) => sum + 2 * size, 0) + SIZES.length - 1;

export interface EnrolWord {
  vm: Uint8Array;
  /** A secret, for whoever has it to wipe. */
  token: Uint8Array;
  host: Uint8Array;
}

/** The line, without its end, for the caller to wipe. */
export function encodeEnrolWord({ vm, token, host }: EnrolWord): Uint8Array {
  const line = new Uint8Array(WORD_BYTES);
  line.set(FORMAT);
  let at = FORMAT.length;
  for (const part of [vm, token, host]) {
    if (at > FORMAT.length) line[at++] = DOT;
    for (const byte of part) {
      line[at++] = digit(byte >> 4);
      line[at++] = digit(byte & 15);
    }
  }
  return line;
}

/** From bytes to bytes: the token is never a string. Throws ProtocolError. */
export function parseEnrolWord(line: Uint8Array): EnrolWord {
  if (!FORMAT.every((byte, at) => byte === line[at])) throw new ProtocolError("enrol: its version is not 1");
  if (line.length !== WORD_BYTES)
    throw new ProtocolError(`enrol: ${line.length} bytes, and it should have ${WORD_BYTES}`);
  let at = FORMAT.length;
  const [vm, token, host] = SIZES.map((size, index) => {
    if (index > 0 && line[at++] !== DOT) throw new ProtocolError("enrol: no dot between its parts");
    const part = new Uint8Array(size);
    for (let byte = 0; byte < size; byte++, at += 2) part[byte] = (nibble(line[at]) << 4) | nibble(line[at + 1]);
    return part;
  });
  if (!vm || !token || !host) throw new ProtocolError("enrol: a part is missing");
  return { vm, token, host };
}

export interface Enrolling {
  host: Uint8Array;
  guest: Uint8Array;
  vm: Uint8Array;
  /** The VM's boots as the host has counted them. */
  generation: number;
  nonce: Uint8Array;
}

/** What the MAC is of. */
export function enrolTranscript({ host, guest, vm, generation, nonce }: Enrolling): Uint8Array {
  const count = new Uint8Array(8);
  for (let at = 7, rest = generation; at >= 0; at--, rest = Math.floor(rest / 256)) count[at] = rest % 256;
  return joined([START, host, guest, vm, count, nonce]);
}

/** What the key of the reply is for. */
export function enrolReplyInfo(transcript: Uint8Array): Uint8Array {
  return joined([REPLY, transcript]);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function digit(value: number): number {
  return value + (value < 10 ? 0x30 : 0x57);
}

function nibble(code = 0): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  if (code >= 0x61 && code <= 0x66) return code - 0x57;
  throw new ProtocolError("enrol: a character that is none of lower-case hex");
}
