// age files (https://age-encryption.org/v1) of any length. The package makes and opens the header; the payload is done
// here, so that no plain byte stays in a buffer that nobody wipes:
//
//   nonce 16 | chunks of 65,536 bytes, each sealed by ChaCha20-Poly1305 (16 more); the last has 1 to 65,536, or is the only one
//
// Key of the payload: HKDF-SHA256 of the file key, salted by the nonce, for "payload". Nonce of a chunk: its number in 11
// bytes, then 1 for the last and 0 for others.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, type CipherGCM } from "node:crypto";
import type { ByteSink } from "#backup";
import { HatchwayError } from "#error";
import { valueBuffer } from "#value-buffer";

const CHUNK = 65_536;
export const TAG = 16;
export const NONCE = 16;

/** Bytes of an age file with `size` bytes in it. */
export function sealedSize(header: Buffer, size: number): number {
  return header.length + NONCE + size + TAG * Math.max(1, Math.ceil(size / CHUNK));
}

/** Seals what is written to it, and writes that to the sink in chunks. Disposing wipes what is left. */
export class AgeWriter implements Disposable {
  readonly #key: Buffer;
  readonly #sink: ByteSink;
  readonly #chunk: Buffer = valueBuffer(CHUNK);
  #used = 0;
  #number = 0;

  private constructor(key: Buffer, sink: ByteSink) {
    this.#key = key;
    this.#sink = sink;
  }

  /** Writes the header. `fileKey` is wiped. */
  static async begin(header: Buffer, fileKey: Buffer, sink: ByteSink): Promise<AgeWriter> {
    const nonce = randomBytes(NONCE);
    const writer = new AgeWriter(payloadKey(fileKey, nonce), sink);
    fileKey.fill(0);
    await sink(Buffer.concat([header, nonce]));
    return writer;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      if (this.#used === CHUNK) await this.#seal(false);
      const part = bytes.subarray(at, at + CHUNK - this.#used);
      this.#chunk.set(part, this.#used);
      this.#used += part.length;
      at += part.length;
    }
  }

  async end(): Promise<void> {
    await this.#seal(true);
  }

  [Symbol.dispose](): void {
    this.#chunk.fill(0);
    this.#key.fill(0);
  }

  async #seal(isLast: boolean): Promise<void> {
    const cipher = sealer(this.#key, chunkNonce(this.#number++, isLast));
    const sealed = cipher.update(this.#chunk.subarray(0, this.#used));
    cipher.final();
    this.#used = 0;
    await this.#sink(Buffer.concat([sealed, cipher.getAuthTag()]));
  }
}

/**
 * The plain bytes of a payload, in chunks that are wiped when the next is asked for. `read` fills a buffer with what
 * follows and answers how much that was: less than its length only at the end. `fileKey` stays the caller's. Throws
 * "corrupt" at the first chunk that does not hold.
 */
export async function* openPayload(fileKey: Buffer, read: (into: Buffer) => Promise<number>): AsyncGenerator<Buffer> {
  const nonce = Buffer.alloc(NONCE);
  if ((await read(nonce)) < NONCE) throw damaged();
  const key = payloadKey(fileKey, nonce);
  try {
    let [sealed, ahead] = [Buffer.alloc(CHUNK + TAG), Buffer.alloc(CHUNK + TAG)];
    let length = await read(sealed);
    for (let number = 0; length > 0; number++) {
      const following = length === sealed.length ? await read(ahead) : 0;
      const isLast = following === 0;
      const plain = openChunk(key, number, isLast, sealed.subarray(0, length));
      try {
        if (plain.length === 0 && number > 0) throw damaged();
        yield plain;
      } finally {
        plain.fill(0);
      }
      if (isLast) return;
      [sealed, ahead] = [ahead, sealed];
      length = following;
    }
    throw damaged();
  } finally {
    key.fill(0);
  }
}

function openChunk(key: Buffer, number: number, isLast: boolean, sealed: Buffer): Buffer {
  if (sealed.length < TAG) throw damaged();
  try {
    return openSealed(key, chunkNonce(number, isLast), sealed);
  } catch (cause) {
    throw damaged(cause);
  }
}

function damaged(cause?: unknown): HatchwayError {
  const message = "the backup is damaged: it was cut or edited";
  return new HatchwayError("corrupt", message, cause === undefined ? {} : { cause });
}

/** The plain bytes of one chunk, for the caller to wipe. Throws where the tag does not hold. */
export function openSealed(key: Buffer, nonce: Buffer, sealed: Buffer): Buffer {
  const decipher = createDecipheriv("chacha20-poly1305", key, nonce, { authTagLength: TAG });
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG));
  const plain = decipher.update(sealed.subarray(0, sealed.length - TAG));
  try {
    decipher.final();
    return plain;
  } catch (error) {
    plain.fill(0);
    throw error;
  }
}

export function sealer(key: Buffer, nonce: Buffer): CipherGCM {
  return createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: TAG });
}

function chunkNonce(number: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(number, 5, 6);
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}

function payloadKey(fileKey: Buffer, nonce: Buffer): Buffer {
  return Buffer.from(hkdfSync("sha256", fileKey, nonce, "payload", 32));
}
