import { createHash, type Hash } from "node:crypto";
import { HatchwayError } from "#error";

/** Bytes that come in chunks, taken in other pieces; it keeps the digest of what was taken. */
export class Source implements AsyncDisposable {
  readonly #chunks: AsyncIterator<Buffer>;
  #digest: Hash = createHash("sha256");
  /** What is left of the newest chunk, which is its giver's until the next one is asked for. */
  #left: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Fills `into`. Throws "corrupt" where the bytes end before. */
  async take(into: Buffer): Promise<Buffer> {
    for (let at = 0; at < into.length;) {
      if (!(await this.#more())) throw new HatchwayError("corrupt", "the backup is damaged: it ends too early");
      const taken = this.#left.copy(into, at);
      this.#left = this.#left.subarray(taken);
      at += taken;
    }
    this.#digest.update(into);
    return into;
  }

  /** SHA-256 of all that was taken, in hex. */
  digest(): string {
    return this.#digest.copy().digest("hex");
  }

  /** Whether nothing follows. */
  async isOver(): Promise<boolean> {
    return !(await this.#more());
  }

  /** The giver wipes what it still has. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#chunks.return?.();
  }

  async #more(): Promise<boolean> {
    while (this.#left.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done === true) return false;
      this.#left = value;
    }
    return true;
  }
}
