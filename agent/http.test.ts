import { describe, it } from "vitest";
import { asciiBytes } from "#protocol/json";
import type { Connection } from "#agent/stream";
import { encodeRequest, HeadReader, HttpClient, MAX_HEAD, type Head } from "#agent/http";
import { nodeSys } from "#agent/platform/node";

const sys = nodeSys([], { state: new Int32Array(2), wake: -1 });

/** A connection whose other end has already said everything, in pieces of a size. */
class Script implements Connection {
  readonly sent: Uint8Array[] = [];
  #rest: Uint8Array;
  readonly #piece: number;

  constructor(bytes: Uint8Array, piece: number) {
    this.#rest = bytes;
    this.#piece = piece;
  }

  send(bytes: Uint8Array): void {
    this.sent.push(Uint8Array.from(bytes));
  }

  receive(into: Uint8Array): number {
    const part = this.#rest.subarray(0, Math.min(this.#piece, into.length));
    if (part.length === 0) throw new Error("closed");
    into.set(part);
    this.#rest = this.#rest.subarray(part.length);
    return part.length;
  }

  close(): void {}
}

function answer(text: string, piece: number): { head: Head; body: string } {
  const taken: number[] = [];
  const client = new HttpClient(sys, new Script(asciiBytes(text.replaceAll("\n", "\r\n")), piece));
  const head = client.exchange({ method: "GET", path: "/" }, 1000, () => (part) => void taken.push(...part));
  return { head, body: Buffer.from(taken).toString("latin1") };
}

describe.each([1, 2, 3, 7, 100_000])("an answer in pieces of %i bytes", (piece) => {
  it("gives its status, headers and body", ({ expect }) => {
    const { head, body } = answer(
      'HTTP/1.1 200 OK\nContent-Length:  12 \nETag: "r"\nConnection: close\n\nhello, world',
      piece,
    );
    expect(head).toMatchObject({ status: 200, length: 12, close: true });
    expect(head.headers.get("etag")).toBe('"r"');
    expect(body).toBe("hello, world");
  });

  it("without a body ends with its head", ({ expect }) => {
    for (const status of ["204 No Content", "304 Not Modified"]) {
      expect(answer(`HTTP/1.1 ${status}\nDate: now\n\n`, piece).head.length).toBe(0);
    }
  });

  it("is refused when it could be read in two ways", ({ expect }) => {
    const hostile: [string, string][] = [
      ["HTTP/1.0 200 OK\nContent-Length: 0\n\n", "not the status line"],
      ["HTTP/1.1 100 Continue\n\n", "not the status line"],
      ["HTTP/1.1 2000 OK\nContent-Length: 0\n\n", "not the status line"],
      ["HTTP/1.1 200 OK\n\n", "without its length"],
      ["HTTP/1.1 200 OK\nContent-Length: -1\n\n", "without its length"],
      ["HTTP/1.1 200 OK\nContent-Length: 0x1\n\n", "without its length"],
      ["HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\na", 'two "content-length" fields'],
      ["HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", "a transfer encoding"],
      ["HTTP/1.1 200 OK\nContent-Length : 0\n\n", "not a header field"],
      ["HTTP/1.1 200 OK\n Content-Length: 0\n\n", "not a header field"],
    ];
    for (const [text, problem] of hostile) expect(() => answer(text, piece)).toThrow(problem);
  });
});

it("a head that does not end is refused at its limit", ({ expect }) => {
  const reader = new HeadReader();
  reader.push(asciiBytes("HTTP/1.1 200 OK\r\nX: ".padEnd(MAX_HEAD, "x")));
  expect(() => reader.push(asciiBytes("x"))).toThrow("more than 8192 bytes");
});

it("bare line ends and control characters are refused", ({ expect }) => {
  for (const line of ["X: a\nY: b", "X: a\rY: b", "X: \0", "X: \u007f"]) {
    const bytes = Buffer.from(`HTTP/1.1 204 No Content\r\n${line}\r\n\r\n`, "latin1");
    expect(() => new HeadReader().push(bytes)).toThrow(/^http:/);
  }
});

it("bytes after an answer's end are refused", ({ expect }) => {
  expect(() => answer("HTTP/1.1 200 OK\nContent-Length: 1\n\nab", 1000)).toThrow("bytes after the answer's end");
});

it("a request states its host, credential and length, and holds no NUL", ({ expect }) => {
  const request = encodeRequest({
    method: "POST",
    path: "/v1/receipts/r",
    authorization: asciiBytes("Hatchway 00"),
    body: asciiBytes("{}"),
  });
  expect(Buffer.from(request).toString()).toBe(
    "POST /v1/receipts/r HTTP/1.1\r\nHost: hatchway\r\nAuthorization: Hatchway 00\r\n" +
      "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
  );
  expect(request.includes(0)).toBe(false);
});
