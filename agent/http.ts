// HTTP/1.1 (RFC 9112) as much of it as the guest API uses: one request in flight, answers with Content-Length or without a
// body. Everything else is refused rather than guessed at.
import { ascii, asciiBytes } from "#protocol/json";
import { ProtocolError } from "#protocol/error";
import type { Connection } from "./stream.ts";
import { AgentError } from "./error.ts";
import type { Sys } from "./sys.ts";

/** Bytes of an answer's head, at most. */
export const MAX_HEAD = 8192;
const CHUNK = 65_536;
/** The longest pause within an answer. */
const STALL_MS = 10_000;
const CR = 13;
const LF = 10;

export interface Head {
  status: number;
  /** Names in lower case. */
  headers: ReadonlyMap<string, string>;
  /** Bytes of the body. */
  length: number;
  /** Whether the connection ends with this answer. */
  close: boolean;
}

/** Collects an answer's head from pieces of any size. */
export class HeadReader {
  readonly #bytes: Uint8Array = new Uint8Array(MAX_HEAD);
  #length = 0;

  /** Takes bytes up to the head's end; how many, and the head once it is whole. */
  push(chunk: Uint8Array): { used: number; head?: Head } {
    const before = this.#length;
    const part = chunk.subarray(0, MAX_HEAD - before);
    this.#bytes.set(part, before);
    this.#length += part.length;
    const end = this.#end(before);
    if (end !== undefined) return { used: end - before, head: parseHead(this.#bytes.subarray(0, end - 4)) };
    if (part.length < chunk.length) throw new ProtocolError(`http: a head of more than ${MAX_HEAD} bytes`);
    return { used: chunk.length };
  }

  /** Behind the empty line, which ends at one of the bytes from `from` on. */
  #end(from: number): number | undefined {
    const bytes = this.#bytes;
    for (let at = bytes.indexOf(LF, from); at >= 0 && at < this.#length; at = bytes.indexOf(LF, at + 1)) {
      if (bytes[at - 1] === CR && bytes[at - 2] === LF && bytes[at - 3] === CR) return at + 1;
    }
    return undefined;
  }
}

function parseHead(bytes: Uint8Array): Head {
  // Within the head CR occurs only before LF; without it the text is plain lines.
  const lines = splitLines(bytes);
  const match = /^HTTP\/1\.1 ([2-5][0-9]{2})(?: .*)?$/.exec(lines[0] ?? "");
  if (!match) throw new ProtocolError("http: not the status line of an answer");
  const status = Number(match[1]);
  const headers = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const field = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ ]*(.*?)[ ]*$/.exec(line);
    if (!field) throw new ProtocolError("http: not a header field");
    const name = (field[1] ?? "").toLowerCase();
    if (headers.has(name) && name !== "set-cookie") throw new ProtocolError(`http: two "${name}" fields`);
    headers.set(name, field[2] ?? "");
  }
  if (headers.has("transfer-encoding"))
    throw new ProtocolError("http: a transfer encoding, where only a length is accepted");
  const close = headers.get("connection")?.toLowerCase() === "close";
  return { status, headers, length: lengthOf(status, headers.get("content-length")), close };
}

function lengthOf(status: number, field: string | undefined): number {
  // Without a body, whatever the field says (RFC 9110, 15.3.5 and 15.4.5).
  if (status === 204 || status === 304) return 0;
  if (field === undefined || !/^[0-9]{1,10}$/.test(field))
    throw new ProtocolError("http: an answer without its length");
  return Number(field);
}

function splitLines(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  let start = 0;
  for (let at = 0; at <= bytes.length; at++) {
    if (at < bytes.length && bytes[at] !== CR) continue;
    if (at < bytes.length && bytes[at + 1] !== LF) throw new ProtocolError("http: a carriage return within a line");
    const line = bytes.subarray(start, at);
    if (line.includes(LF)) throw new ProtocolError("http: a line that ends without a carriage return");
    lines.push(ascii(line, "http"));
    start = at + 2;
  }
  return lines;
}

export interface Request {
  method: "GET" | "POST";
  path: string;
  /** After "Authorization: "; bytes, because it is a credential. */
  authorization?: Uint8Array;
  /** JSON. */
  body?: Uint8Array;
}

/** Speaks HTTP over one connection. After an error the connection is of no more use. */
export class HttpClient {
  readonly #sys: Sys;
  readonly #connection: Connection;
  readonly #chunk: Uint8Array = new Uint8Array(CHUNK);

  constructor(sys: Sys, connection: Connection) {
    this.#sys = sys;
    this.#connection = connection;
  }

  /**
   * One request and its answer, whose head must have come within `patienceMs`. `takeBody` says, by the head, where the
   * body goes; it is called with each piece, a view that is wiped afterwards.
   */
  exchange(request: Request, patienceMs: number, takeBody: (head: Head) => (piece: Uint8Array) => void): Head {
    const head = encodeRequest(request);
    this.#connection.send(head, this.#sys.monotonic() + STALL_MS);
    this.#sys.wipe(head);
    try {
      return this.#answer(this.#sys.monotonic() + patienceMs, takeBody);
    } catch (cause) {
      if (cause instanceof ProtocolError) {
        throw new AgentError("host-answer", `the host's answer is not as it should be: ${cause.message}`, { cause });
      }
      throw cause;
    } finally {
      this.#sys.wipe(this.#chunk);
    }
  }

  #answer(deadline: number, takeBody: (head: Head) => (piece: Uint8Array) => void): Head {
    const reader = new HeadReader();
    for (;;) {
      const received = this.#chunk.subarray(0, this.#connection.receive(this.#chunk, deadline));
      const { used, head } = reader.push(received);
      if (!head) continue;
      this.#body(head.length, received.subarray(used), takeBody(head));
      return head;
    }
  }

  #body(length: number, first: Uint8Array, take: (piece: Uint8Array) => void): void {
    let left = length;
    for (let piece = first; ; piece = this.#more(left)) {
      if (piece.length > left) throw new ProtocolError("http: bytes after the answer's end");
      left -= piece.length;
      if (piece.length > 0) take(piece);
      if (left === 0) return;
    }
  }

  #more(left: number): Uint8Array {
    const room = this.#chunk.subarray(0, Math.min(left, CHUNK));
    return room.subarray(0, this.#connection.receive(room, this.#sys.monotonic() + STALL_MS));
  }
}

export function encodeRequest({ method, path, authorization, body }: Request): Uint8Array {
  const parts = [asciiBytes(`${method} ${path} HTTP/1.1\r\nHost: hatchway\r\n`)];
  if (authorization) parts.push(asciiBytes("Authorization: "), authorization, asciiBytes("\r\n"));
  if (body) parts.push(asciiBytes(`Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`));
  parts.push(asciiBytes("\r\n"));
  if (body) parts.push(body);
  return concat(parts);
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
