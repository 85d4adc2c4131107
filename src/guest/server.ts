import { createServer, STATUS_CODES, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { GuestIdentity } from "#channel";
import { HatchwayError, httpStatus, toHatchwayError } from "#error";
import { OneAtATime } from "#pipelining";
import type { GuestRequest, Parts } from "#guest/request";
import { route } from "#guest/routes";

/** Connections of one VM at a time, at most. */
const MAX_CONNECTIONS = 32;
/** Milliseconds for the header of a request, and for its body. */
const REQUEST_TIMEOUT = 5_000;
/** Milliseconds that a connection is kept on which nothing moves, in or out: longer than the longest wait. */
const IDLE_TIMEOUT = 75_000;

/**
 * The guest API: one http.Server that is fed streams by the channels of all VMs. Who asks is known from the stream
 * before a byte is read; a request says only what is wanted.
 */
export class GuestServer {
  readonly #parts: Parts;
  readonly #http: Server;
  readonly #identities = new WeakMap<Duplex, GuestIdentity>();
  readonly #streams = new Map<string, Set<Duplex>>();
  readonly #oneAtATime = new OneAtATime();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#http = createServer({
      maxHeaderSize: 4_096,
      headersTimeout: REQUEST_TIMEOUT,
      requestTimeout: REQUEST_TIMEOUT,
      keepAliveTimeout: IDLE_TIMEOUT,
      connectionsCheckingInterval: 1_000,
      insecureHTTPParser: false,
      requireHostHeader: true,
    });
    this.#http.timeout = IDLE_TIMEOUT;
    this.#http.on("request", (request, response) => {
      this.#oneAtATime.admit(request, response, () => void this.#serve(request, response));
    });
    this.#http.on("clientError", (error: NodeJS.ErrnoException, stream) => refuse(stream, error));
    // Both would otherwise be answered by Node: neither has a place here.
    this.#http.on("connect", (_request, stream: Duplex) => stream.destroy());
    this.#http.on("upgrade", (_request, stream: Duplex) => stream.destroy());
    // Its time limits are looked after from "listening" on, and this server never listens itself.
    this.#http.emit("listening");
  }

  /** Serves a stream that a channel accepted. */
  accept(stream: Duplex, identity: GuestIdentity): void {
    const streams = this.#streams.get(identity.vmId) ?? new Set();
    if (streams.size >= MAX_CONNECTIONS) {
      stream.destroy();
      return;
    }
    streams.add(stream);
    this.#streams.set(identity.vmId, streams);
    stream.once("close", () => {
      streams.delete(stream);
      if (streams.size === 0) this.#streams.delete(identity.vmId);
    });
    // A guest that goes away in the middle is nothing to report.
    stream.on("error", () => stream.destroy());
    this.#identities.set(stream, identity);
    this.#http.emit("connection", stream);
  }

  /** Ends all conversations of a VM: it was removed, or is another boot. */
  disconnect(vmId: string): void {
    for (const stream of this.#streams.get(vmId) ?? []) stream.destroy();
  }

  close(): void {
    for (const vmId of this.#streams.keys()) this.disconnect(vmId);
    this.#http.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const identity = this.#identities.get(request.socket);
      if (!identity) throw new HatchwayError("internal", "a stream without an identity");
      const asked: GuestRequest = { identity, request, response };
      await route(this.#parts, asked);
    } catch (error) {
      if (!response.closed) this.#fail(response, error);
    }
  }

  #fail(response: ServerResponse, thrown: unknown): void {
    const error = toHatchwayError(thrown);
    if (error.code === "internal" || error.code === "corrupt") this.#parts.report(thrown);
    if (response.headersSent) {
      // Part of an answer is out: only the end of the connection can say that the rest will not come.
      response.destroy();
      return;
    }
    sendJson(response, httpStatus[error.code], { error: error.message, code: error.code });
  }
}

export function sendJson(response: ServerResponse, status: number, body: object): void {
  const json = Buffer.from(`${JSON.stringify(body)}\n`);
  response.writeHead(status, { "content-type": "application/json", "content-length": json.length });
  response.end(json);
}

/** Bytes that are no HTTP request: say so and end. */
function refuse(stream: Duplex, error: NodeJS.ErrnoException): void {
  const status = error.code === "HPE_HEADER_OVERFLOW" ? 431 : error.code === "ERR_HTTP_REQUEST_TIMEOUT" ? 408 : 400;
  if (!stream.writable) return void stream.destroy();
  stream.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}
