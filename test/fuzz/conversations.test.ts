// What a hostile client or a hostile QEMU writes to a socket of the daemon: it is answered in order or cut off, and
// nobody else notices.
import { connect, createServer } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { describe, onTestFinished, test } from "vitest";
import { QmpClient } from "#vmm/qmp";
import { KEY } from "#test/kit/channel-conformance";
import { RUNNER_A, TestDaemon } from "#test/kit/daemon";
import { fuzz, FUZZ_TIMEOUT } from "#test/kit/fuzz";
import { GuestConnection } from "#test/kit/guest-connection";
import { rawCases, requestOf, type Surface } from "#test/kit/raw-http";

const WORDS = [
  "\r\n",
  "\r\n\r\n",
  "content-length: 5\r\n",
  "transfer-encoding: chunked\r\n",
  "0\r\n\r\n",
  "\0",
  "HTTP/1.1",
];
const MORE = [
  "DELETE /secrets/db",
  "PUT /secrets/db/value",
  "POST /vms",
  "GET /v1/bundle?have=x&wait=0",
  "POST /v1/claim",
];

/** Sends `bytes` and nothing more; the statuses that came back. */
async function told(path: string, bytes: Buffer): Promise<number[]> {
  const socket = connect(path);
  let text = "";
  const over = new Promise<void>((resolve) => socket.once("error", () => resolve()).once("close", () => resolve()));
  socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
  socket.end(bytes);
  await over;
  return Array.from(text.matchAll(/HTTP\/1\.1 ([0-9]{3}) /g), ([, status]) => Number(status));
}

describe.for(["admin", "runner", "guest"])("HTTP at the %s socket", (name) => {
  test("that is nearly right leaves the daemon whole", { timeout: FUZZ_TIMEOUT }, async ({ expect }) => {
    await using daemon = await TestDaemon.open();
    await daemon.secret("other", "another's");
    const { control_socket } = await daemon.vm("a", RUNNER_A, "other");
    const vsock = join(daemon.directory("a"), "vsock_5107");
    const guest = await GuestConnection.open(vsock);
    onTestFinished(() => guest.close());
    await guest.ask("POST /v1/claim", {}, JSON.stringify({ key: KEY }));
    const authorization = `Hatchway ${KEY}`;
    const at = { admin: daemon.places.socket, runner: control_socket, guest: vsock }[name] ?? "";
    const surface: Surface = {
      name,
      at: { path: at },
      head: `host: x\\r\\nauthorization: ${authorization}\\r\\n`,
      ...(name === "guest"
        ? { get: "/v1/manifest", one: "/v1/secrets/other", post: "/v1/receipts/x" }
        : { get: "/secrets", one: "/secrets/db", post: "/secrets" }),
    };
    const seeds = rawCases()
      .map((one) => requestOf(one, surface).bytes)
      .filter((bytes) => bytes.length < 20_000);
    const read = async (input: Buffer): Promise<void> => {
      const statuses = await told(at, input);
      if (statuses.some((status) => status >= 500)) throw new Error(`answered ${statuses.join(", ")}`);
    };
    const count = await fuzz({
      name: `HTTP at the ${name} socket`,
      seeds,
      words: [...WORDS, ...MORE],
      inputs: 200,
      read,
    });
    expect(count).toBeGreaterThan(0);
    expect((await guest.ask("GET /v1/secrets/other", { authorization }))?.body.toString()).toBe("another's");
    expect(daemon.fatal).toBeUndefined();
    expect(await daemon.log()).not.toContain("internal");
  });
});

test(
  "what is nearly QMP ends in an event, an answer or a connection that is over",
  { timeout: FUZZ_TIMEOUT },
  async ({ expect }) => {
    const greeting =
      '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}\r\n';
    const shutdown =
      '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true}}\r\n';
    await using daemon = await TestDaemon.open();
    const path = join(daemon.folder, "qmp.sock");
    let input: Buffer = Buffer.alloc(0);
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.write(greeting);
      socket.once("data", () => socket.write('{"return": {}, "id": 1}\r\n') && socket.end(input));
    }).listen(path);
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const read = async (next: Buffer): Promise<void> => {
      input = next;
      const client = await QmpClient.connect(path, process.pid);
      const over = once(client, "close");
      await Promise.all([over, client.execute("query-status").catch((error: Error) => error)]);
    };
    const seeds = [
      shutdown,
      '{"return": {"running": true}, "id": 2}\r\n',
      '{"error": {"class": "x", "desc": "y"}, "id": 2}\r\n',
    ];
    const words = ["\r\n", '"id": 2', '"event":', '"return":', "{", "}", "\0", "[[[["];
    const count = await fuzz({ name: "QMP", seeds: seeds.map((seed) => Buffer.from(seed)), words, inputs: 200, read });
    expect(count).toBeGreaterThan(0);
  },
);
