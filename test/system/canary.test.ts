// One value that is nowhere else, through everything that a value goes through: where it is afterwards, and is not.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request, type RequestOptions } from "node:http";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { parseAddress } from "#daemon/listen";
import { formsOf } from "#test/kit/canary";
import { KEY } from "#test/kit/channel-conformance";
import { DaemonProcess, endOf } from "#test/kit/daemon-process";
import { GuestConnection } from "#test/kit/guest-connection";
import { COMPILED, ended } from "#test/kit/guest-namespace";
import { countInMemory } from "#test/kit/memory";

const TOKEN = "5eed".repeat(16);

/** A request on the admin socket: its status and body. */
function ask(made: DaemonProcess, method: string, path: string, body?: Buffer): Promise<[number, string]> {
  const headers = body === undefined ? {} : { "content-length": body.length };
  return told({ socketPath: join(made.runtime, "hatchway.sock"), method, path, headers }, body);
}

/** The same by the token, on the address that the daemon said it serves on. */
function askTcp(said: string, method: string, path: string, body: Buffer): Promise<[number, string]> {
  const { host, port } = parseAddress(/serves on (\S+:\d+)\n/.exec(said)?.[1] ?? "") ?? {};
  const headers = { authorization: `Bearer ${TOKEN}`, "content-length": body.length };
  return told({ ...(host !== undefined && { host, port }), method, path, headers }, body);
}

function told(options: RequestOptions, body?: Buffer): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const asked = request(options, (response) => {
      let text = "";
      response.on("data", (part: Buffer) => (text += part.toString("latin1")));
      response.once("end", () => resolve([response.statusCode ?? 0, text]));
    });
    asked.once("error", reject);
    asked.end(body);
  });
}

const json = (fields: object): Buffer => Buffer.from(JSON.stringify(fields));

/** What a process was started with. */
function startedWith(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, "latin1") + readFileSync(`/proc/${pid}/environ`, "latin1");
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((path) => join(folder, path))
    .filter((path) => statSync(path).isFile());
}

async function served(): Promise<{
  made: DaemonProcess;
  pid: number;
  stop: () => Promise<unknown>;
  said: () => string;
}> {
  const made = new DaemonProcess();
  onTestFinished(() => made[Symbol.asyncDispose]());
  const token = join(made.folder, "token");
  await writeFile(token, `${TOKEN}\n`, { mode: 0o600 });
  const daemon = await made.serve({}, ["--listen", "127.0.0.1:0", "--token-file", token]);
  return { made, pid: daemon.pid, stop: () => endOf(daemon, "SIGTERM"), said: daemon.stderr };
}

test("a value is in no file, log, error, argv or environment of the host", async ({ expect }) => {
  const { made, pid, stop, said } = await served();
  const value = randomBytes(48);
  const data = value.toString("base64");
  const outputs: string[] = [];
  const started: string[] = [startedWith(pid)];
  const cli = async (args: string[], input: Buffer): Promise<void> => {
    const { stdout, stderr } = await made.run(args, input);
    outputs.push(stdout, stderr);
  };
  await cli(["secret", "create", "db"], value);
  await cli(["secret", "create", "db"], value);
  await cli(["secret", "update", "db"], value);
  await cli(["secret", "set", "db"], value);
  // A file of a user's own, which is not among those that are searched.
  const own = await mkdtemp("/dev/shm/hw-own-");
  onTestFinished(() => rm(own, { recursive: true }));
  await writeFile(join(own, "env"), `IN_HEX=${value.toString("hex")}\n`);
  await writeFile(join(own, "json"), JSON.stringify({ in_base64: data }));
  await cli(["secret", "import", "--env-file", join(own, "env")], Buffer.alloc(0));
  await cli(["secret", "import", "--json-file", join(own, "json")], Buffer.alloc(0));
  await cli(["secret", "generate", "generated", "--bytes", "48"], Buffer.alloc(0));
  await cli(["secret", "rollback", "db", "--to", "1"], Buffer.alloc(0));
  await cli(["secret", "rename", "IN_HEX", "renamed"], Buffer.alloc(0));
  const attached = ["db", "generated", "renamed", "in_base64"].flatMap((name) => ["--secret", name]);
  await cli(["vm", "create", "vm1", ...attached], Buffer.alloc(0));
  await cli(["key", "rotate"], Buffer.alloc(0));
  await cli(["key", "rewrap"], Buffer.alloc(0));
  const [tcpStatus, tcpText] = await askTcp(said(), "PUT", "/secrets/by-tcp/value", value);
  expect(tcpStatus).toBe(201);
  outputs.push(tcpText);
  const answers = [
    await ask(made, "POST", "/secrets", json({ name: "posted", data })),
    await ask(made, "POST", "/secrets", json({ name: "posted", data })),
    await ask(made, "PATCH", "/secrets/posted", json({ data })),
    await ask(made, "POST", "/secrets", json({ name: "wrong", data, permissions: data })),
    await ask(made, "POST", "/secrets", json({ name: `/${data}`, data })),
    await ask(made, "POST", "/secrets", json({ [`/${data}`]: data })),
    await ask(made, "POST", "/secrets", Buffer.from(`{"name":"x","data":"${data}`)),
    await ask(made, "POST", "/secrets", Buffer.from(`{"name":"x","data":"${data.slice(1)}"}`)),
    await ask(made, "PUT", "/secrets/in%20valid/value", value),
    await ask(made, "PUT", "/secrets/db/value?mode=9999", value),
  ];
  expect(answers.map(([status]) => status)).toEqual([201, 409, 200, 400, 400, 400, 400, 400, 400, 400]);
  // The three that put it where a name belongs are told their own words back.
  outputs.push(...answers.filter((_, at) => at < 3 || at > 5).map(([, text]) => text));

  const root = await mkdtemp("/dev/shm/hw-agent-");
  onTestFinished(() => rm(root, { recursive: true }));
  const socket = join(made.runtime, "vm/vm1/vsock_5107");
  const argv = ["sync", "--from", `unix:${socket}`, "--root", root, "--no-mount"];
  const agent = spawn(COMPILED.command[0] ?? "", argv, { stdio: ["ignore", "pipe", "pipe"] });
  started.push(startedWith(agent.pid ?? 0));
  const { code, stdout, stderr } = await ended(agent);
  expect(code).toBe(0);
  outputs.push(stdout, stderr, said());
  expect(readFileSync(join(root, "secrets/db")).equals(value)).toBe(true);
  expect(readFileSync(join(root, "secrets/in_base64"), "latin1")).toBe(data);
  const searched = [...formsOf(value), ...formsOf(readFileSync(join(root, "secrets/generated")))];

  for (const live of [true, false]) {
    if (!live) await stop();
    const files = filesBelow(made.folder);
    expect(files.map((path) => path.slice(made.state.length + 1))).toContain("store.db");
    for (const path of files) {
      const bytes = readFileSync(path);
      for (const form of searched) expect(bytes.includes(form), path).toBe(false);
    }
  }
  for (const text of [...outputs, ...started]) {
    for (const form of searched) expect(Buffer.from(text, "latin1").includes(form), text).toBe(false);
  }
});

test("a value that was written and read a hundred times is not in the daemon's memory", async ({ expect }) => {
  const { made, pid } = await served();
  const small = randomBytes(24);
  const large = randomBytes(100_000);
  const middle = randomBytes(1_000);
  const values = { small, middle, large };
  for (const [name, value] of Object.entries(values)) {
    for (let count = 0; count < 100; count++) await ask(made, "PUT", `/secrets/${name}/value`, value);
    const data = value.toString("base64");
    for (let count = 0; count < 20; count++) {
      await ask(made, "PATCH", `/secrets/${name}`, Buffer.from(JSON.stringify({ data })));
    }
  }
  await made.ok(["vm", "create", "vm1", ...Object.keys(values).flatMap((name) => ["--secret", name])]);
  const guest = await GuestConnection.open(join(made.runtime, "vm/vm1/vsock_5107"));
  onTestFinished(() => guest.close());
  await guest.ask("POST /v1/claim", {}, JSON.stringify({ key: KEY }));
  const headers = { authorization: `Hatchway ${KEY}` };
  for (let count = 0; count < 100; count++) {
    for (const [name, value] of Object.entries(values)) {
      const answer = await guest.ask(`GET /v1/secrets/${name}`, headers);
      if (answer?.body.equals(value) !== true) throw new Error(`"${name}" did not come`);
    }
    await guest.ask("GET /v1/bundle", headers);
    if (count % 10 > 0) continue;
    const half = await GuestConnection.open(join(made.runtime, "vm/vm1/vsock_5107"));
    half.send(`GET /v1/bundle HTTP/1.1\r\nhost: x\r\nauthorization: ${headers.authorization}\r\n\r\n`);
    half.close();
  }
  const needles = Object.values(values).flatMap((value) => [
    value.subarray(0, 24),
    value.subarray(-24),
    Buffer.from(value.toString("base64").slice(0, 32)),
  ]);
  const found = await countInMemory(pid, [...needles, "vsock_5107"]);
  const marker = found.pop() ?? 0;
  // The scan sees what is there.
  expect(marker).toBeGreaterThan(0);
  expect(found).toEqual(needles.map(() => 0));
});
