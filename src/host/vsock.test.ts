import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { onTestFinished, test } from "vitest";
import { listenVsock, peerCid } from "./vsock.ts";

test("AF_VSOCK is not opened where HATCHWAY_NO_AF_VSOCK=1", async ({ expect }) => {
  const before = process.env["HATCHWAY_NO_AF_VSOCK"];
  process.env["HATCHWAY_NO_AF_VSOCK"] = "1";
  onTestFinished(() => {
    if (before === undefined) delete process.env["HATCHWAY_NO_AF_VSOCK"];
    else process.env["HATCHWAY_NO_AF_VSOCK"] = before;
  });
  await expect(listenVsock(5107, () => undefined)).rejects.toThrow("AF_VSOCK is not to be opened on this host");
});

test("what is no vsock connection has no CID", async ({ expect }) => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const connection = once(server, "connection") as Promise<[Socket]>;
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [peer] = await connection;
  expect(() => peerCid(peer)).toThrow("is no vsock connection");
  client.destroy();
  peer.destroy();
  server.close();
});
