// Bytes that no client should send, to each socket that the daemon serves: every one is answered as its file says, and
// none of them does anything.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";
import { parseAddress } from "#daemon/listen";
import { KEY } from "#test/kit/channel-conformance";
import { DaemonProcess, endOf, type Serving } from "#test/kit/daemon-process";
import { GuestConnection } from "#test/kit/guest-connection";
import { call } from "#test/kit/http";
import { requestOf, rawCases, statusesOf, type Surface } from "#test/kit/raw-http";
import { bundle } from "#test/kit/session-daemon";

const TOKEN = "5eed".repeat(16);

let made: DaemonProcess;
let daemon: Serving;
const surfaces = new Map<string, Surface>();
const cases = rawCases();

beforeAll(async () => {
  await bundle();
  made = new DaemonProcess();
  mkdirSync(join(made.folder, "c/hatchway"), { recursive: true, mode: 0o700 });
  const token = join(made.folder, "token");
  writeFileSync(token, `${TOKEN}\n`, { mode: 0o600 });
  const config = `listen: ["127.0.0.1:0"]\ntokens: {ci: ${token}}\n`;
  writeFileSync(join(made.folder, "c/hatchway/config.yaml"), config, { mode: 0o600 });
  daemon = await made.serve({ HATCHWAY_FROM_SOURCE: "" });
  const socket = join(made.runtime, "hatchway.sock");
  await call(socket, "PUT", "/secrets/db/value", "x");
  const vm = await call(socket, "POST", "/vms", '{"name":"web","secrets":["db"]}');
  const { control_socket } = JSON.parse(vm.text) as { control_socket: string };
  const vsock = join(made.runtime, "vm/web/vsock_5107");
  const guest = await GuestConnection.open(vsock);
  await guest.ask("POST /v1/claim", {}, JSON.stringify({ key: KEY }));
  guest.close();
  const { port } = parseAddress(/serves on (\S+:\d+)\n/.exec(daemon.stderr())?.[1] ?? "") ?? { port: 0 };

  const host = "host: x\\r\\n";
  const admin = { get: "/secrets", one: "/secrets/db", post: "/secrets" };
  const tcp = { ...admin, at: { host: "127.0.0.1", port }, head: `${host}authorization: Bearer ${TOKEN}\\r\\n` };
  const claimed = `${host}authorization: Hatchway ${KEY}\\r\\n`;
  const inGuest = { get: "/v1/manifest", one: "/v1/secrets/db", post: "/v1/receipts/x" };
  for (const surface of [
    { name: "admin", at: { path: socket }, head: host, ...admin },
    { name: "tcp", ...tcp },
    { name: "runner", at: { path: control_socket }, head: host, get: "/status", one: "/status", post: "/status" },
    { name: "guest", at: { path: vsock }, head: claimed, ...inGuest },
  ]) {
    surfaces.set(surface.name, surface);
  }
});
afterAll(() => made[Symbol.asyncDispose]());

describe.for(["admin", "tcp", "runner", "guest"])("at the %s socket", (name) => {
  test("every request of test/vectors/http is answered as its file says", { timeout: 120_000 }, async ({ expect }) => {
    const surface = surfaces.get(name);
    if (!surface) throw new Error(`there is no surface ${name}`);
    const wrong: string[] = [];
    for (const one of cases) {
      const answer = await statusesOf(surface, requestOf(one, surface));
      const right = one.expected[name] ?? "";
      if (!right.split("|").includes(answer)) wrong.push(`${one.file}: ${answer}, not ${right}`);
    }
    expect(wrong).toEqual([]);
  });
});

test("nothing was done by any of them, and nothing failed", async ({ expect }) => {
  expect(cases.length).toBeGreaterThan(90);
  const secrets = await call(join(made.runtime, "hatchway.sock"), "GET", "/secrets");
  expect((JSON.parse(secrets.text) as { name: string }[]).map(({ name }) => name)).toEqual(["db"]);
  expect(await endOf(daemon, "SIGTERM")).toBe(0);
  expect(daemon.stderr()).not.toMatch(/internal|corrupt|Error:/);
});
