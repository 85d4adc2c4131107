import { createServer } from "node:http";
import { Duplex } from "node:stream";
import { test } from "vitest";
import { OneAtATime } from "#pipelining";

const REQUEST = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";

/** A connection whose client has the bytes before the server knows that they are out. */
class Late extends Duplex {
  received = "";
  #told: () => void = () => undefined;

  override _read(): void {
    // What the client sends is pushed.
  }

  override _write(chunk: Buffer, _encoding: string, told: () => void): void {
    this.received += chunk.toString("latin1");
    this.#told = told;
  }

  tell(): void {
    this.#told();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function connected(): Late {
  const oneAtATime = new OneAtATime();
  let count = 0;
  const server = createServer((request, response) => {
    oneAtATime.admit(request, response, () => {
      count += 1;
      response.end(`answer ${count}`);
    });
  });
  const connection = new Late();
  server.emit("connection", connection);
  return connection;
}

test("who has a whole answer may ask again, though the server was not told yet", async ({ expect }) => {
  const connection = connected();
  connection.push(REQUEST);
  await turn();
  expect(connection.received).toContain("answer 1");
  connection.push(REQUEST);
  await turn();
  expect(connection.received).not.toContain("answer 2");
  connection.tell();
  await turn();
  connection.tell();
  await turn();
  expect(connection.received).toContain("answer 2");
  expect(connection.destroyed).toBe(false);
});

test("who asks twice before that is cut off", async ({ expect }) => {
  const connection = connected();
  connection.push(REQUEST);
  await turn();
  connection.push(REQUEST + REQUEST);
  await turn();
  expect(connection.destroyed).toBe(true);
});
