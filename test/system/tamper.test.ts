// A store's file and a keyring that somebody edited while the daemon was down: it says so, and serves nothing of them.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { beforeAll, beforeEach, onTestFinished, test } from "vitest";
import { DaemonProcess, endOf, type Serving } from "#test/kit/daemon-process";
import { call, type Reply } from "#test/kit/http";
import { bundle } from "#test/kit/session-daemon";

const VALUE = "the value itself, which nobody sees";
const BUNDLED = { HATCHWAY_FROM_SOURCE: "" };

let made: DaemonProcess;
let control: string;

beforeAll(bundle);

beforeEach(async () => {
  made = new DaemonProcess();
  onTestFinished(() => made[Symbol.asyncDispose]());
  const daemon = await made.serve(BUNDLED);
  await call(socket(), "PUT", "/secrets/db/value", VALUE);
  const vm = await call(socket(), "POST", "/vms", '{"name":"web","secrets":["db"]}');
  control = (JSON.parse(vm.text) as { control_socket: string }).control_socket;
  await call(control, "GET", "/bundle");
  await endOf(daemon, "SIGTERM");
});

const socket = (): string => join(made.runtime, "hatchway.sock");

/** Changes one bit in the middle of a row, and gives what it was. */
function edit(prefix: string): Uint8Array {
  using database = new DatabaseSync(join(made.state, "store.db"));
  const row = database.prepare("SELECT key, bytes FROM rows WHERE key GLOB ?").get(`${prefix}*`);
  if (!(row?.["bytes"] instanceof Uint8Array)) throw new Error(`there is no row of ${prefix}`);
  const before = Uint8Array.from(row["bytes"]);
  const bytes = Uint8Array.from(before);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  database.prepare("UPDATE rows SET bytes = ? WHERE key = ?").run(bytes, String(row["key"]));
  return before;
}

function put(prefix: string, bytes: Uint8Array): void {
  using database = new DatabaseSync(join(made.state, "store.db"));
  database.prepare("UPDATE rows SET bytes = ? WHERE key GLOB ?").run(bytes, `${prefix}*`);
}

function broken(error: Error): Reply {
  if (error.message === "aborted") return { status: 0, headers: {}, text: "" };
  throw error;
}

/** What the daemon answers, or nothing if it does not start, and what it said. */
async function served(): Promise<{ statuses: number[]; text: string; said: string }> {
  let daemon: Serving;
  try {
    daemon = await made.serve(BUNDLED);
  } catch (error) {
    return { statuses: [], text: "", said: String(error) };
  }
  const paths = ["/secrets", "/secrets/db/vms", "/vms/web"];
  const answers = await Promise.all([
    ...paths.map((path) => call(socket(), "GET", path)),
    call(control, "GET", "/bundle").catch(broken),
  ]);
  await endOf(daemon, "SIGTERM");
  return {
    statuses: answers.map(({ status }) => status),
    text: answers.map(({ text }) => text).join("\n"),
    said: daemon.stderr(),
  };
}

test("an edited row of any kind keeps the daemon from starting, or is refused when it is read", async ({ expect }) => {
  for (const kind of ["head", "secret:", "value:", "vm:", "grants:", "holder:", "ledger:"]) {
    const before = edit(kind);
    const { statuses, text, said } = await served();
    // 0: an answer that broke off, since its beginning was out already.
    expect(
      statuses.filter((status) => ![0, 200, 500].includes(status)),
      kind,
    ).toEqual([]);
    expect(statuses, kind).not.toEqual([200, 200, 200, 200]);
    // Who holds a secret is written down with the VM too, and a bundle is made of that alone.
    if (kind !== "holder:") expect(text, kind).not.toContain(VALUE);
    expect(said, kind).toContain("sealed bytes do not open here");
    put(kind, before);
  }
  const { statuses, text } = await served();
  expect(statuses).toEqual([200, 200, 200, 200]);
  expect(text).toContain(VALUE);
});

test("an edited keyring keeps the daemon from starting, and says so", async ({ expect }) => {
  const path = join(made.state, "keyring.json");
  const good = readFileSync(path, "utf8");
  const edits = [
    good.replace('"current": 1', '"current": 2'),
    good.replace(/"sealed": "(.)/, (_, first) => `"sealed": "${first === "A" ? "B" : "A"}`),
    good.replace(/"mac": "(.)/, (_, first) => `"mac": "${first === "0" ? "1" : "0"}`),
    good.replace(/"store": "(.)/, (_, first) => `"store": "${first === "0" ? "1" : "0"}`),
    good.slice(0, -10),
  ];
  for (const edited of edits) {
    expect(edited).not.toBe(good);
    writeFileSync(path, edited);
    const { code, stderr } = await made.refused(BUNDLED);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/^error: .*(?:keyring|key file|wrong key|corrupt|sealed bytes)/m);
  }
});
