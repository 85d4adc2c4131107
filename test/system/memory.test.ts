import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { call } from "#test/kit/http";
import { countInMemory } from "#test/kit/memory";

const CANARY = "memory-canary-0x5eed-";
/** The same in base64, as far as it is the same wherever a repetition of it starts. */
const IN_BASE64 = [0, 1, 2].map((shift) => {
  const text = Buffer.from(`${"xyz".slice(0, shift)}${CANARY}`).toString("base64");
  return text.slice(shift === 0 ? 0 : 4, -4);
});
/** Its name, as a check that the search finds what is there. */
const NAME = "this-name-is-no-secret";

test("the daemon keeps no copy of a value that it was given or has given out", async ({ expect }) => {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-memory-"));
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
  const socket = join(folder, "run", "hatchway.sock");
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

  const [name, ...copies] = await countInMemory(child.pid ?? 0, [NAME, CANARY, ...IN_BASE64]);
  expect(name).toBeGreaterThan(0);
  expect(copies).toEqual([0, 0, 0, 0]);
});
