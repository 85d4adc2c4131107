import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/**
 * Lets each connection of an http.Server have one request at a time. Node hands over what a client pipelines (RFC 9112,
 * section 9.3.2) as fast as it is parsed, however many answers are due: a megabyte of small requests that wait for
 * something, or ask for something large, would take hundreds of megabytes.
 */
export class OneAtATime {
  /** By connection, the answer that is due, or that is to be given next. */
  readonly #due = new WeakMap<Duplex, ServerResponse>();
  /** Connections with a request that waits for the answer before its own to be out. */
  readonly #waiting = new WeakSet<Duplex>();

  /**
   * Calls `serve` when it is the request's turn. One that comes before the last was answered ends its connection; but a
   * quick client has the last bytes of a large answer, and asks again, before Node has told that they are out.
   */
  admit({ socket }: IncomingMessage, response: ServerResponse, serve: () => void): void {
    const due = this.#due.get(socket);
    if (due && (!due.writableEnded || this.#waiting.has(socket))) {
      socket.destroy();
      return;
    }
    this.#due.set(socket, response);
    response.once("close", () => {
      if (this.#due.get(socket) === response) this.#due.delete(socket);
    });
    if (!due) {
      serve();
      return;
    }
    this.#waiting.add(socket);
    due.once("close", () => {
      this.#waiting.delete(socket);
      if (!socket.destroyed) serve();
    });
  }
}
