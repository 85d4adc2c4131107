import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { onTestFinished, test } from "vitest";
import { descriptorOf, peerCredentials, peerGroups } from "#host/peer";

/** The server's end of a connection to `server`. */
async function accepted(server: Server, dial: () => Socket): Promise<Socket> {
  const connection = once(server, "connection") as Promise<[Socket]>;
  const client = dial();
  const [socket] = await connection;
  onTestFinished(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  return socket;
}

test("a unix socket's peer is this process", async ({ expect }) => {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-peer-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "s");
  const server = createServer().listen(path);
  await once(server, "listening");
  const socket = await accepted(server, () => connect(path));
  const us = { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() };
  expect(peerCredentials(descriptorOf(socket))).toEqual(us);
  // Node adds the process's own group, which need not be among the further ones.
  expect(process.getgroups?.()).toEqual(expect.arrayContaining(peerGroups(descriptorOf(socket))));
});

test("a tcp connection has no peer credentials", async ({ expect }) => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = await accepted(server, () => connect(port, "127.0.0.1"));
  expect(() => peerCredentials(descriptorOf(socket))).toThrow("not a unix socket");
});
