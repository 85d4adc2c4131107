import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/**
 * Lets each connection of an http.Server have one request at a time. Node hands over what a client pipelines (RFC 9112,
 * section 9.3.2) as fast as it is parsed, however many answers are due: a megabyte of small requests that wait for
 * something, or ask for something large, would take hundreds of megabytes.
 */
export class OneAtATime {
  readonly #busy = new WeakSet<Duplex>();

  /** Whether the request may be served. One that comes before the last was answered ends its connection. */
  admits({ socket }: IncomingMessage, response: ServerResponse): boolean {
    if (this.#busy.has(socket)) {
      socket.destroy();
      return false;
    }
    this.#busy.add(socket);
    response.once("close", () => this.#busy.delete(socket));
    return true;
  }
}
