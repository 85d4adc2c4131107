// Opens an age file (https://age-encryption.org/v1) as it comes, in pieces of any size, in memory of two chunks:
//
//   header | nonce 16 | chunks of 65,536 bytes, each with a tag of 16; the last has 1 to 65,536, or is the only one
//
// Key of the chunks: HKDF-SHA256 of the file's key, salted by the nonce, for "payload". Nonce of a chunk: its number in 11
// bytes, big-endian, then 1 for the last and 0 for others: so none can be left out, moved or added.
import { asciiBytes } from "#protocol/json";
import { ProtocolError } from "#protocol/error";
import { MAX_AGE_HEADER, openAgeHeader } from "./age-header.ts";
import { derive, NONCE_BYTES, openSealed, TAG_BYTES } from "./primitives.ts";
import type { Sys } from "./sys.ts";

const CHUNK = 65_536;
const PAYLOAD_NONCE = 16;
const PAYLOAD = asciiBytes("payload");
const START = asciiBytes("age-encryption.org/");
const ARMORED = asciiBytes("-----BEGIN AGE");
const LF = 10;
const DASH = 0x2d;

/** Whether a file of these first bytes is one of age, in its binary form or its armored one, which is refused later. */
export function isAge(head: Uint8Array): boolean {
  return [START, ARMORED].some((start) => start.every((byte, at) => byte === head[at]));
}

/**
 * `push` throws ProtocolError at the first byte that breaks a rule; `end` throws unless the file was whole. What `take` got
 * before `end` has returned may have been cut short, and must not be put to use.
 */
export class AgeReader {
  readonly #sys: Sys;
  readonly #identity: () => Uint8Array;
  readonly #take: (plain: Uint8Array) => void;
  readonly #chunk: Uint8Array = new Uint8Array(CHUNK + TAG_BYTES);
  readonly #plain: Uint8Array = new Uint8Array(CHUNK);
  #filled = 0;
  #lineStart = 0;
  #fileKey: Uint8Array | undefined;
  #key: Uint8Array | undefined;
  #number = 0;

  /** `identity`: a key of 32 bytes, which is wiped. `take` gets views that are wiped. */
  constructor(sys: Sys, identity: () => Uint8Array, take: (plain: Uint8Array) => void) {
    this.#sys = sys;
    this.#identity = identity;
    this.#take = take;
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      if (!this.#fileKey) at += this.#pushHeader(bytes.subarray(at));
      else at += this.#pushPayload(bytes.subarray(at));
    }
  }

  end(): void {
    if (!this.#key || this.#filled < TAG_BYTES) throw new ProtocolError("age: it ends in the middle");
    this.#open(true);
  }

  /** Wipes what it holds; it can't be used any more. */
  close(): void {
    for (const held of [this.#chunk, this.#plain, this.#fileKey, this.#key]) if (held) this.#sys.wipe(held);
  }

  /** Takes bytes up to the header's end. */
  #pushHeader(bytes: Uint8Array): number {
    for (const [index, byte] of bytes.entries()) {
      if (this.#filled === MAX_AGE_HEADER)
        throw new ProtocolError(`age: a header of more than ${MAX_AGE_HEADER} bytes`);
      this.#chunk[this.#filled++] = byte;
      if (byte !== LF) continue;
      if (this.#lineStart === 0 && !isAge(this.#chunk))
        throw new ProtocolError("age: it does not begin as an age file");
      if (this.#chunk[0] === DASH) throw new ProtocolError("age: it is armored, and should be in the binary form");
      if (this.#chunk[this.#lineStart] === DASH && this.#chunk[this.#lineStart + 1] === DASH) {
        this.#openHeader();
        return index + 1;
      }
      this.#lineStart = this.#filled;
    }
    return bytes.length;
  }

  #openHeader(): void {
    const identity = this.#identity();
    try {
      this.#fileKey = openAgeHeader(this.#sys, this.#chunk.subarray(0, this.#filled), identity);
    } finally {
      this.#sys.wipe(identity);
    }
    this.#filled = 0;
  }

  #pushPayload(bytes: Uint8Array): number {
    const room = this.#key ? this.#chunk.length : PAYLOAD_NONCE;
    // More comes behind a chunk, so that it is not the last.
    if (this.#filled === room) this.#open(false);
    const part = bytes.subarray(0, room - this.#filled);
    this.#chunk.set(part, this.#filled);
    this.#filled += part.length;
    if (!this.#key && this.#filled === PAYLOAD_NONCE) {
      this.#key = derive(this.#fileKey ?? new Uint8Array(0), this.#chunk.subarray(0, PAYLOAD_NONCE), PAYLOAD);
      this.#filled = 0;
    }
    return part.length;
  }

  #open(isLast: boolean): void {
    const sealed = this.#chunk.subarray(0, this.#filled);
    const plain = this.#plain.subarray(0, sealed.length - TAG_BYTES);
    const isEmpty = plain.length === 0 && this.#number > 0;
    const nonce = chunkNonce(this.#number++, isLast);
    if (isEmpty || !this.#key || !openSealed(this.#key, nonce, sealed, plain)) {
      throw new ProtocolError("age: it was cut or changed");
    }
    this.#filled = 0;
    try {
      if (plain.length > 0) this.#take(plain);
    } finally {
      this.#sys.wipe(plain);
    }
  }
}

function chunkNonce(number: number, isLast: boolean): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  for (let at = NONCE_BYTES - 2, rest = number; rest > 0; at--, rest = Math.floor(rest / 256)) nonce[at] = rest % 256;
  nonce[NONCE_BYTES - 1] = isLast ? 1 : 0;
  return nonce;
}
