// How bytes are sealed. AES-256-GCM with a 16-byte tag throughout (NIST SP 800-38D); every seal binds its place as
// associated data, so that nothing opens anywhere but where it was put.
//
// A sealed record (metadata), under a key of its term:
//
//   0 "HWR" 0x01 | 4 term, u32 big-endian | 8 nonce 12, random | 20 ciphertext | … tag 16
//
// A sealed value, under a data key of its own, which is wrapped under the term:
//
//   0 "HWV" 0x01 | 4 term, u32 | 8 nonce 12, random | 20 wrapped data key 32 | 52 tag 16 | 68 ciphertext | … tag 16
//
// A data key seals exactly one value, so the value's own nonce is all zero. Rotating a term rewraps bytes 4 to 68 and
// leaves the rest.
import { createCipheriv, createSecretKey, randomFillSync, type KeyObject } from "node:crypto";
import { HatchwayError } from "#error";
import { openGcm } from "#host/openssl";
import { valueBuffer } from "#value-buffer";

export const KEY_SIZE = 32;
const NONCE_SIZE = 12;
const TAG_SIZE = 16;
const HEAD_SIZE = 8;
const RECORD_MAGIC = Buffer.from("HWR\u0001", "latin1");
const VALUE_MAGIC = Buffer.from("HWV\u0001", "latin1");
const ZERO_NONCE = Buffer.alloc(NONCE_SIZE);

/** A key that is wiped when its scope ends: `using key = …`. */
export class Key implements Disposable {
  readonly #bytes: Buffer;
  #object: KeyObject | undefined;
  #wiped = false;

  constructor(bytes: Buffer) {
    if (bytes.length !== KEY_SIZE) throw new RangeError(`a key of ${bytes.length} bytes`);
    this.#bytes = bytes;
  }

  static random(): Key {
    return new Key(randomFillSync(valueBuffer(KEY_SIZE)));
  }

  /** Throws HatchwayError "sealed" once it is wiped: what is under way then must not go on with a key of zeros. */
  get bytes(): Buffer {
    if (!this.#wiped) return this.#bytes;
    throw new HatchwayError("sealed", "the keys were wiped meanwhile");
  }

  /** The same for node:crypto, which takes 10 µs a call to tell that mere bytes are a key. Wiped when it is collected. */
  get object(): KeyObject {
    this.#object ??= createSecretKey(this.bytes);
    return this.#object;
  }

  [Symbol.dispose](): void {
    this.#bytes.fill(0);
    this.#wiped = true;
    this.#object = undefined;
  }
}

/** nonce 12 | ciphertext | tag 16, in a fresh buffer. */
export function seal(key: Key, plaintext: Uint8Array, associated: Buffer): Buffer {
  const nonce = randomFillSync(Buffer.alloc(NONCE_SIZE));
  return Buffer.concat([nonce, encrypt(key, nonce, plaintext, associated)]);
}

/** The plaintext of `seal`, in a buffer that the caller wipes. Throws HatchwayError "corrupt". */
export function open(key: Key, sealed: Buffer, associated: Buffer): Buffer {
  if (sealed.length < NONCE_SIZE + TAG_SIZE) throw new HatchwayError("corrupt", "sealed bytes are too short");
  return decrypt(key, sealed.subarray(0, NONCE_SIZE), sealed.subarray(NONCE_SIZE), associated);
}

/** The terms' keys, as an envelope needs them. */
export interface TermKeys {
  /** The term that new seals are made under. */
  readonly current: number;
  /** Throws HatchwayError "corrupt" for a term that there is not. */
  key(term: number): Key;
}

export function sealRecord(terms: TermKeys, plaintext: Uint8Array, place: Buffer): Buffer {
  const head = encodeHead(RECORD_MAGIC, terms.current);
  return Buffer.concat([head, seal(terms.key(terms.current), plaintext, Buffer.concat([head, place]))]);
}

export function openRecord(terms: TermKeys, row: Buffer, place: Buffer): Buffer {
  const { head, term, body } = decodeHead(RECORD_MAGIC, row);
  return open(terms.key(term), body, Buffer.concat([head, place]));
}

export function sealValue(terms: TermKeys, value: Uint8Array, place: Buffer): Buffer {
  using dataKey = Key.random();
  const head = encodeHead(VALUE_MAGIC, terms.current);
  const wrapped = seal(terms.key(terms.current), dataKey.bytes, Buffer.concat([head, place]));
  return Buffer.concat([head, wrapped, encrypt(dataKey, ZERO_NONCE, value, place)]);
}

/** The value, in a buffer that the caller wipes. */
export function openValue(terms: TermKeys, row: Buffer, place: Buffer): Buffer {
  const { head, term, body } = decodeHead(VALUE_MAGIC, row);
  const wrappedSize = NONCE_SIZE + KEY_SIZE + TAG_SIZE;
  if (body.length < wrappedSize + TAG_SIZE) throw new HatchwayError("corrupt", "a sealed value is too short");
  using dataKey = new Key(open(terms.key(term), body.subarray(0, wrappedSize), Buffer.concat([head, place])));
  return decrypt(dataKey, ZERO_NONCE, body.subarray(wrappedSize), place);
}

/** The term that a row is sealed under, as it says itself. Throws "corrupt" for what is no sealed row. */
export function termOf(row: Buffer): number {
  return decodeHead(isValue(row) ? VALUE_MAGIC : RECORD_MAGIC, row).term;
}

export function isValue(row: Buffer): boolean {
  return row.subarray(0, 4).equals(VALUE_MAGIC);
}

/** The same value, its data key wrapped under the current term: bytes 4 to 67 are new. */
export function rewrapValue(terms: TermKeys, row: Buffer, place: Buffer): Buffer {
  const { head, term, body } = decodeHead(VALUE_MAGIC, row);
  const wrappedSize = NONCE_SIZE + KEY_SIZE + TAG_SIZE;
  if (body.length < wrappedSize + TAG_SIZE) throw new HatchwayError("corrupt", "a sealed value is too short");
  using dataKey = new Key(open(terms.key(term), body.subarray(0, wrappedSize), Buffer.concat([head, place])));
  const next = encodeHead(VALUE_MAGIC, terms.current);
  const wrapped = seal(terms.key(terms.current), dataKey.bytes, Buffer.concat([next, place]));
  return Buffer.concat([next, wrapped, body.subarray(wrappedSize)]);
}

function encodeHead(magic: Buffer, term: number): Buffer {
  const head = Buffer.alloc(HEAD_SIZE);
  magic.copy(head);
  head.writeUInt32BE(term, 4);
  return head;
}

function decodeHead(magic: Buffer, row: Buffer): { head: Buffer; term: number; body: Buffer } {
  const head = row.subarray(0, HEAD_SIZE);
  if (head.length < HEAD_SIZE || !head.subarray(0, 4).equals(magic)) {
    throw new HatchwayError("corrupt", "a row does not begin as a sealed row does");
  }
  return { head, term: head.readUInt32BE(4), body: row.subarray(HEAD_SIZE) };
}

function encrypt(key: Key, nonce: Buffer, plaintext: Uint8Array, associated: Buffer): Buffer {
  const cipher = createCipheriv("aes-256-gcm", key.object, nonce, { authTagLength: TAG_SIZE });
  cipher.setAAD(associated);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: Key, nonce: Buffer, sealed: Buffer, associated: Buffer): Buffer {
  const end = sealed.length - TAG_SIZE;
  const plaintext = valueBuffer(end);
  const ciphertext = sealed.subarray(0, end);
  if (openGcm(key.bytes, { nonce, ciphertext, tag: sealed.subarray(end), associated }, plaintext)) return plaintext;
  throw new HatchwayError("corrupt", "sealed bytes do not open here: they were edited, moved or sealed by another key");
}
