import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";

/**
 * A TLS connection for an http.Server.
 *
 * Each piece is written by itself: pieces that are written together Node puts into one buffer of its own, which it frees
 * as it is, so that values would stay in memory. And what comes is handed on once what was written is known to be out:
 * TLS tells of that so late that a quick client, with all of an answer, would seem to ask before it was given.
 */
export class GuestStream extends Duplex {
  readonly #socket: TLSSocket;
  /** Writes that are under way. */
  #writing = 0;
  /** What has come meanwhile; null is the end. */
  readonly #held: (Buffer | null)[] = [];

  constructor(socket: TLSSocket) {
    super({ decodeStrings: true });
    this.#socket = socket;
    socket.on("data", (bytes: Buffer) => this.#take(bytes));
    socket.once("end", () => this.#take(null));
    socket.once("error", (error) => this.destroy(error));
    socket.once("close", () => this.destroy());
    socket.on("timeout", () => this.emit("timeout"));
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress;
  }

  /** As of a socket (node:net): an http.Server ends by it what does not move. */
  setTimeout(milliseconds: number): this {
    this.#socket.setTimeout(milliseconds);
    return this;
  }

  override _read(): void {
    if (this.#held.length === 0) this.#socket.resume();
  }

  override _write(bytes: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#writing++;
    this.#socket.write(bytes, (error) => {
      this.#writing--;
      done(error);
      // Whoever waits for this write goes on before that.
      setImmediate(() => this.#release());
    });
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }

  #take(bytes: Buffer | null): void {
    if (this.#writing === 0 && this.#held.length === 0) return this.#hand(bytes);
    this.#held.push(bytes);
    this.#socket.pause();
  }

  #release(): void {
    while (this.#writing === 0 && this.#held.length > 0) this.#hand(this.#held.shift() ?? null);
    if (this.#held.length === 0 && this.readableLength === 0) this.#socket.resume();
  }

  #hand(bytes: Buffer | null): void {
    if (!this.destroyed && !this.push(bytes)) this.#socket.pause();
  }
}
