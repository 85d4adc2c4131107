import { once } from "node:events";
import { Duplex, duplexPair } from "node:stream";
import { test } from "vitest";
import type { Bundle } from "#bundle";
import { Delivery } from "#delivery";
import { GuestServer } from "#guest/server";
import { guest, TestVault } from "#test/kit/vault";

/** Counts who waits for a bundle. */
class CountedDelivery extends Delivery {
  waiting = 0;

  override async next(...parameters: Parameters<Delivery["next"]>): Promise<Bundle | undefined> {
    this.waiting++;
    return super.next(...parameters);
  }
}

async function text(stream: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

test("a connection has one request at a time; one that pipelines ends", async ({ expect }) => {
  await using made = await TestVault.open();
  const { id } = await made.vm("web");
  const { revision } = (await made.vault.resolve(guest(id), id)).manifest;
  const delivery = new CountedDelivery(made.vault);
  const server = new GuestServer({ vault: made.vault, delivery, report: (error) => expect.unreachable(String(error)) });
  const [ours, theirs] = duplexPair();
  server.accept(ours, { vmId: id, channel: "virtio-serial", rootOnly: true });
  const closed = once(ours, "close");
  theirs.write(`GET /v1/bundle?have=${revision}&wait=60 HTTP/1.1\r\nhost: h\r\n\r\n`.repeat(1_000));
  await closed;
  expect(delivery.waiting).toBe(1);
  server.close();
  delivery.close();
});

test("a connection serves one request after the other", async ({ expect }) => {
  await using made = await TestVault.open();
  const { id } = await made.vm("web");
  const delivery = new Delivery(made.vault);
  const server = new GuestServer({ vault: made.vault, delivery, report: (error) => expect.unreachable(String(error)) });
  const [ours, theirs] = duplexPair();
  server.accept(ours, { vmId: id, channel: "virtio-serial", rootOnly: true });
  for (let count = 0; count < 3; count++) {
    theirs.write("GET /v1/manifest HTTP/1.1\r\nhost: h\r\n\r\n");
    const [answer] = (await once(theirs, "data")) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const rest = text(theirs);
  server.close();
  expect(await rest).not.toContain("HTTP/1.1 4");
  delivery.close();
});
