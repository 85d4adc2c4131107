import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { onTestFinished, test } from "vitest";
import type { VmBody } from "#api-vm";
import { KEY } from "#test/kit/channel-conformance";
import { GuestConnection } from "#test/kit/guest-connection";
import { call } from "#test/kit/http";
import { countInMemory } from "#test/kit/memory";
import { guestListenConfig, issueGuest, openTls } from "#test/kit/tls-guest";

const CANARY = "memory-canary-0x5eed-";
/** The same in base64, as far as it is the same wherever a repetition of it starts. */
const IN_BASE64 = [0, 1, 2].map((shift) => {
  const text = Buffer.from(`${"xyz".slice(0, shift)}${CANARY}`).toString("base64");
  return text.slice(shift === 0 ? 0 : 4, -4);
});
/** Its name, as a check that the search finds what is there. */
const NAME = "this-name-is-no-secret";

/** A daemon in a process of its own. */
async function started(
  prepare: (folder: string) => Promise<void> = async () => undefined,
): Promise<{ pid: number; socket: string; folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-memory-"));
  await prepare(folder);
  const child = spawn(process.execPath, [join(import.meta.dirname, "../kit/daemon-child.ts"), folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(async () => {
    const ended = once(child, "exit");
    child.kill();
    await ended;
    await rm(folder, { recursive: true });
  });
  await once(child.stdout, "data");
  return { pid: child.pid ?? 0, socket: join(folder, "run", "hatchway.sock"), folder };
}

test("the daemon keeps no copy of a value that it was given or has given out", async ({ expect }) => {
  const { pid, socket } = await started();
  for (let at = 0; at < 100; at++) {
    const value = Buffer.from(CANARY.repeat(1 + (at % 30) ** 2));
    const put = await call(socket, "PUT", `/secrets/${NAME}.${at}/value`, value);
    const body = JSON.stringify({ name: `json.${at}`, data: value.toString("base64") });
    const post = await call(socket, "POST", "/secrets", body);
    expect([put.status, post.status]).toEqual([201, 201]);
  }
  const secrets = Array.from({ length: 100 }, (_, at) => [`${NAME}.${at}`, `json.${at}`]).flat();
  const vm = await call(socket, "POST", "/vms", JSON.stringify({ name: "web-1", secrets }));
  const { control_socket } = JSON.parse(vm.text) as { control_socket: string };
  const bundle = await call(control_socket, "GET", "/bundle");
  expect(bundle.text.split(CANARY).length).toBeGreaterThan(2000);
  // Node reads all connections into one buffer of 64 KiB that is not ours to wipe: the next request's is over it.
  await call(socket, "PUT", "/secrets/other/value", Buffer.alloc(200_000, 0x2e));

  const [name, ...copies] = await countInMemory(pid, [NAME, CANARY, ...IN_BASE64]);
  expect(name).toBeGreaterThan(0);
  expect(copies).toEqual([0, 0, 0, 0]);
});

test("there is no copy of a value that left by TLS", { timeout: 180_000 }, async ({ expect }) => {
  const { pid, socket, folder } = await started(async (made) => {
    const config = await guestListenConfig(made);
    await writeFile(join(made, "config/config.yaml"), config, { mode: 0o600 });
  });
  const values = { small: randomBytes(48), large: randomBytes(100_000) };
  for (const [name, value] of Object.entries(values)) await call(socket, "PUT", `/secrets/${name}/value`, value);
  const made = await call(socket, "POST", "/vms", JSON.stringify({ name: "web-1", secrets: Object.keys(values) }));
  const guest = await openTls(await issueGuest(folder, JSON.parse(made.text) as VmBody));
  onTestFinished(() => guest.close());
  for (let round = 0; round < 200; round++) {
    for (const [name, value] of Object.entries(values)) {
      const answer = await guest.ask(`GET /v1/secrets/${name}`);
      if (answer?.body.equals(value) !== true) throw new Error(`"${name}" did not come`);
    }
  }
  await call(socket, "PUT", "/secrets/other/value", Buffer.alloc(200_000, 0x2e));
  const needles = Object.values(values).flatMap((value) => [value.subarray(0, 32), value.subarray(-32)]);
  expect(await countInMemory(pid, needles)).toEqual(needles.map(() => 0));
});

/** How often a value is written and read, each way. */
function rounds(name: string): number {
  return name === "small" ? 450 : 50;
}

test(
  "of a value that was written and read a thousand times there is no copy",
  { timeout: 180_000 },
  async ({ expect }) => {
    const { pid, socket } = await started();
    const values = { small: randomBytes(48), large: randomBytes(100_000) };
    for (const [name, value] of Object.entries(values)) {
      const body = JSON.stringify({ data: value.toString("base64") });
      for (let round = 0; round < rounds(name); round++) {
        const put = await call(socket, "PUT", `/secrets/${name}/value`, value);
        const patch = await call(socket, "PATCH", `/secrets/${name}`, body);
        if (put.status >= 300 || patch.status >= 300) throw new Error(put.text + patch.text);
      }
    }
    const needles = Object.values(values).flatMap((value) => [
      value.subarray(0, 32),
      value.subarray(-32),
      Buffer.from(value.toString("base64").slice(0, 40)),
      Buffer.from(value.toString("base64").slice(-40)),
    ]);
    const afterWrites = await countInMemory(pid, needles);
    expect(Math.max(...afterWrites)).toBeLessThanOrEqual(2);

    const vm = await call(socket, "POST", "/vms", JSON.stringify({ name: "web-1", secrets: Object.keys(values) }));
    const { control_socket } = JSON.parse(vm.text) as { control_socket: string };
    const guest = await GuestConnection.open(join(dirname(control_socket), "vsock_5107"));
    onTestFinished(() => guest.close());
    await guest.ask("POST /v1/claim", {}, JSON.stringify({ key: KEY }));
    for (const [name, value] of Object.entries(values)) {
      for (let round = 0; round < 2 * rounds(name); round++) {
        const answer = await guest.ask(`GET /v1/secrets/${name}`, { authorization: `Hatchway ${KEY}` });
        if (answer?.body.equals(value) !== true) throw new Error(`"${name}" did not come`);
      }
    }
    // As above: the next request's bytes are over those in Node's buffer.
    await call(socket, "PUT", "/secrets/other/value", Buffer.alloc(200_000, 0x2e));
    expect(await countInMemory(pid, needles)).toEqual(needles.map(() => 0));
  },
);
