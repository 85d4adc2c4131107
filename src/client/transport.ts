// Requests and answers over a daemon's unix socket, or a network. One connection a request: a command makes one or two and ends.
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { HatchwayError, httpStatus, type ErrorCode } from "#error";
import type { EmbeddedStore } from "./embedded.ts";
import { DEFAULT_PATIENCE, sendBody, type Request } from "./request.ts";
import type { Target } from "./uri.ts";

export interface Answer {
  status: number;
  body: Buffer;
}

/** Of an answer whose body was taken. */
export interface Head {
  status: number;
  headers: IncomingHttpHeaders;
}

export class Transport {
  readonly #target: Target;
  #embedded: Promise<EmbeddedStore> | undefined;

  constructor(target: Target) {
    this.#target = target;
  }

  /** Throws what the daemon answered as an error, and "unavailable" where none answers. */
  async send(request: Request): Promise<Answer> {
    const response = await this.open(request);
    return { status: response.statusCode ?? 0, body: await readBody(response) };
  }

  /** The same, with the body given to `take` in pieces, each wiped after the call. */
  async take(request: Request, take: (piece: Buffer) => void): Promise<Head> {
    const response = await this.open(request);
    // By "data" events: reading in any other way joins pieces into copies that nobody wipes.
    await new Promise<void>((resolve, reject) => {
      response.on("data", (piece: Buffer) => {
        try {
          if (!response.destroyed) take(piece);
        } catch (error) {
          response.destroy();
          reject(error);
        } finally {
          piece.fill(0);
        }
      });
      response.on("end", resolve);
      response.on("error", (cause) => reject(brokenOff(cause)));
    });
    return { status: response.statusCode ?? 0, headers: response.headers };
  }

  /** The same, with the answer's body still to be read. */
  async open(request: Request): Promise<IncomingMessage> {
    const target = this.#target;
    if (target.kind === "network") {
      const { networkExchange } = await import("./network.ts");
      return accepted(await networkExchange(target, request));
    }
    const sockets = target.kind === "embedded" ? [(await this.#openEmbedded(target.root)).socket] : target.sockets;
    for (const socket of sockets) {
      const response = await exchange(socket, request);
      if (response !== undefined) return accepted(response);
    }
    const silent = sockets.length === 1 ? `${sockets[0]} does not answer` : `neither ${sockets.join(" nor ")} answers`;
    const hint = target.kind === "embedded" ? "open it anew" : target.startHint;
    throw new HatchwayError("unavailable", `no daemon is running: ${silent}`, { hint });
  }

  /** Lets go of an embedded store; the next request opens it again. */
  async close(): Promise<void> {
    const embedded = this.#embedded;
    this.#embedded = undefined;
    await (await embedded)?.close();
  }

  /** One that could not be opened is tried again with the next request. */
  async #openEmbedded(root: string): Promise<EmbeddedStore> {
    const opening = (this.#embedded ??= import("./embedded.ts").then(({ openEmbeddedStore }) =>
      openEmbeddedStore(root),
    ));
    try {
      return await opening;
    } catch (error) {
      if (this.#embedded === opening) this.#embedded = undefined;
      throw error;
    }
  }
}

async function accepted(response: IncomingMessage): Promise<IncomingMessage> {
  if ((response.statusCode ?? 0) < 400) return response;
  throw errorOf(response.statusCode ?? 0, await readBody(response));
}

/** Undefined when nobody listens on the socket; nothing was sent then. */
function exchange(socketPath: string, request: Request): Promise<IncomingMessage | undefined> {
  const patience = request.patience ?? DEFAULT_PATIENCE;
  const length = request.body === undefined ? {} : { "content-length": String(request.body.length) };
  const outgoing = httpRequest({
    socketPath,
    method: request.method,
    path: request.path,
    headers: { host: "hatchway", ...length, ...request.headers },
    agent: false,
  });
  outgoing.setTimeout(patience, () => {
    const seconds = Math.round(patience / 1000);
    outgoing.destroy(new HatchwayError("timeout", `the daemon on ${socketPath} said nothing for ${seconds} s`));
  });
  // Programs import this too, in Node 20, which has no Promise.withResolvers.
  return new Promise((resolve, reject) => {
    outgoing.on("response", resolve);
    outgoing.on("error", (error: NodeJS.ErrnoException) => {
      if (error.name === "HatchwayError") reject(error);
      else if (error.syscall === "connect" && (error.code === "ENOENT" || error.code === "ECONNREFUSED")) {
        resolve(undefined);
      } else reject(connectionError(socketPath, error));
    });
    sendBody(outgoing, request);
  });
}

function connectionError(socketPath: string, cause: NodeJS.ErrnoException): HatchwayError {
  if (cause.syscall === "connect" && (cause.code === "EACCES" || cause.code === "EPERM")) {
    return new HatchwayError("forbidden", `this user may not connect to ${socketPath}`, {
      hint: "run as root or join the group hatchway; your own daemon: hatchway serve --session",
      cause,
    });
  }
  return new HatchwayError("unavailable", `the connection to ${socketPath} broke: ${cause.code ?? cause.message}`, {
    cause,
  });
}

function brokenOff(cause: unknown): HatchwayError {
  return new HatchwayError("unavailable", "the daemon broke off in the middle of its answer", { cause });
}

async function readBody(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of bodyOf(response)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The answer's body in pieces. Throws "unavailable" where it breaks off. */
export async function* bodyOf(response: IncomingMessage): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of response) yield chunk as Buffer;
  } catch (cause) {
    if (cause instanceof HatchwayError) throw cause;
    throw brokenOff(cause);
  }
}

/** What the daemon said; where it said nothing that can be read, what its status means. */
function errorOf(status: number, body: Buffer): HatchwayError {
  const said = parseError(body);
  const code = isCode(said["code"]) ? said["code"] : codeOf(status);
  const message = typeof said["error"] === "string" ? said["error"] : `the daemon answered with status ${status}`;
  return new HatchwayError(code, message, typeof said["hint"] === "string" ? { hint: said["hint"] } : {});
}

function parseError(body: Buffer): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(body.toString("utf8"));
    return typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>) : {};
  } catch (cause) {
    // A proxy or another program on that socket: its status is all that is known.
    if (cause instanceof SyntaxError) return {};
    throw cause;
  }
}

function isCode(code: unknown): code is ErrorCode {
  return typeof code === "string" && Object.hasOwn(httpStatus, code);
}

function codeOf(status: number): ErrorCode {
  const found = Object.entries(httpStatus).find(([, number]) => number === status);
  return isCode(found?.[0]) ? found[0] : "internal";
}
