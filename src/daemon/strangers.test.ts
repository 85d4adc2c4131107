import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, test } from "vitest";
import { MAX_OF_ADDRESS, Strangers } from "#daemon/strangers";

let server: Server;
let accepted: Socket[];
let clients: Socket[];

beforeEach(async () => {
  accepted = [];
  clients = [];
  server = createServer((socket) => {
    socket.on("error", () => undefined);
    accepted.push(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(() => {
  for (const socket of [...accepted, ...clients]) socket.destroy();
  server.close();
});

async function come(count: number): Promise<Socket[]> {
  const { port } = server.address() as AddressInfo;
  const before = accepted.length;
  for (let at = 0; at < count; at++) {
    const client = connect(port, "127.0.0.1");
    client.on("error", () => undefined);
    clients.push(client);
    await once(client, "connect");
  }
  while (accepted.length < before + count) await once(server, "connection");
  return accepted.slice(before);
}

test("the oldest of an address makes room, and who is known no longer counts", async ({ expect }) => {
  const strangers = new Strangers();
  const first = await come(MAX_OF_ADDRESS);
  for (const socket of first) strangers.add(socket);
  const [known, oldest, next] = first;
  if (known) strangers.remove(known);
  const [extra, another] = await come(2);
  if (extra) strangers.add(extra);
  expect(first.filter(({ destroyed }) => destroyed)).toEqual([]);
  if (another) strangers.add(another);
  expect(first.filter(({ destroyed }) => destroyed)).toEqual([oldest]);
  expect([known?.destroyed, next?.destroyed, another?.destroyed]).toEqual([false, false, false]);
});

test("one that has ended makes room by itself", async ({ expect }) => {
  const strangers = new Strangers();
  const first = await come(MAX_OF_ADDRESS);
  for (const socket of first) strangers.add(socket);
  const [, second] = first;
  second?.destroy();
  if (second) await once(second, "close");
  const [extra] = await come(1);
  if (extra) strangers.add(extra);
  expect(first.filter(({ destroyed }) => destroyed)).toEqual([second]);
});
