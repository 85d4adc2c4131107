import { execFile } from "node:child_process";
import { once } from "node:events";
import { chmod, readFile } from "node:fs/promises";
import type { Server } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, test } from "vitest";
import { adminApp } from "#admin/app";
import { serveApi, unixCaller } from "#admin/serve";
import { call, raw, type Reply } from "#test/kit/http";
import { TestVault } from "#test/kit/vault";

const CANARY = "canary-7f3a91";
const BASE64 = Buffer.from(CANARY).toString("base64");

let home: TestVault;
let server: Server;
let path: string;
let log: string[];

beforeEach(async () => {
  home = await TestVault.open({ policy: { mode: "session", uid: process.getuid?.() ?? 0 } });
  log = [];
  path = join(home.folder, "admin.sock");
  const write = (line: string): void => void log.push(line);
  const api = adminApp({
    vault: home.vault,
    log: { write, tail: async (lines) => log.slice(-lines).join("\n"), follow },
    attachDefault: "defaults",
    // Of these, only what needs no machine is asked here; the daemon's own tests ask for the rest.
    sealing: undefined as never,
    machines: undefined as never,
    hostGroups: undefined as never,
    status: undefined as never,
  });
  server = serveApi(api, unixCaller, write).listen(path);
  await once(server, "listening");
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await home[Symbol.asyncDispose]();
});

async function* follow(lines: number, signal: AbortSignal): AsyncGenerator<string> {
  yield `the last ${lines}\n`;
  if (!signal.aborted) await once(signal, "abort");
}

function json(method: string, target: string, body?: unknown): Promise<Reply> {
  return call(path, method, target, body === undefined ? undefined : JSON.stringify(body), {
    "content-type": "application/json",
  });
}

function error(reply: Reply): string {
  return (JSON.parse(reply.text) as { error: string }).error;
}

/** The value, as the guest would get it. */
async function valueOf(name: string): Promise<Buffer> {
  const caller = { kind: "embedded", uid: 0, purpose: "test" } as const;
  const vm = await home.vault.createVm(caller, {
    name: `reader-${name}`,
    runner: { uid: 12_345, gid: 12_345 },
    grants: [{ secret: name, change: { file: true } }],
  });
  const bundle = await home.vault.resolve(caller, vm.id);
  const open = await bundle.disclose(bundle.manifest.entries);
  const [entry] = bundle.manifest.entries;
  if (!entry) throw new Error(`no entry for ${name}`);
  const value = await open(entry);
  await home.vault.removeVm(caller, vm.name);
  return value;
}

describe("Slicer's clients", () => {
  test("create, list, patch and delete as its Go client does", async ({ expect }) => {
    const made = await json("POST", "/secrets", { name: "api-key", data: BASE64 });
    expect(made.status).toBe(201);

    const [listed] = JSON.parse((await json("GET", "/secrets")).text) as Record<string, unknown>[];
    expect(listed).toMatchObject({ name: "api-key", size: CANARY.length, permissions: "0600", uid: 0, gid: 0 });
    expect(listed?.["mod_time"]).toBe(listed?.["modified_at"]);

    // Its `data` has no omitempty: it is there, and empty, when only something else changes.
    const patched = await json("PATCH", "/secrets/api-key", { data: "", permissions: "0640", uid: 1000, gid: 1001 });
    expect(patched.status).toBe(200);
    expect(JSON.parse(patched.text)).toMatchObject({ permissions: "0640", uid: 1000, gid: 1001, version: 1 });
    expect((await valueOf("api-key")).toString()).toBe(CANARY);

    // It leaves out a uid of 0, which is why that must not mean 0.
    await json("PATCH", "/secrets/api-key", { data: "bmV3" });
    expect(JSON.parse((await json("GET", "/secrets/api-key")).text)).toMatchObject({ uid: 1000, version: 2, size: 3 });

    expect((await json("DELETE", "/secrets/api-key")).status).toBe(200);
    expect((await json("DELETE", "/secrets/api-key")).status).toBe(404);
    expect((await json("GET", "/secrets")).text).toBe("[]");
  });

  test("a slash at the end, names in percent-encoding", async ({ expect }) => {
    expect((await json("POST", "/secrets/", { name: "a.b-c", data: BASE64 })).status).toBe(201);
    expect((await json("GET", "/secrets/a%2Eb%2dc/")).status).toBe(200);
    expect((await json("PATCH", "/secrets/a.b-c/", { permissions: "0400" })).status).toBe(200);
  });

  test("uid and gid can be set back to 0", async ({ expect }) => {
    await json("POST", "/secrets", { name: "a", data: BASE64, uid: 7, gid: 8 });
    expect(JSON.parse((await json("PATCH", "/secrets/a", { uid: 0, gid: 0 })).text)).toMatchObject({ uid: 0, gid: 0 });
  });

  test("409 for a name that is taken, 404 for none, 400 for what breaks a rule", async ({ expect }) => {
    await json("POST", "/secrets", { name: "a", data: BASE64 });
    const taken = await json("POST", "/secrets", { name: "a", data: "" });
    expect(taken.status).toBe(409);
    expect(JSON.parse(taken.text)).toMatchObject({ error: 'secret "a" exists already', code: "exists" });
    expect((await json("PATCH", "/secrets/b", { uid: 1 })).status).toBe(404);
    expect((await json("POST", "/secrets", { name: "b" })).status).toBe(400);
    expect((await json("POST", "/secrets", { name: "../b", data: "" })).status).toBe(400);
    expect((await json("POST", "/secrets", { name: "b", data: "!" })).status).toBe(400);
    expect((await json("POST", "/secrets", { name: "b", data: "", value: CANARY })).status).toBe(400);
    expect((await json("PATCH", "/secrets/a", { data: "" })).status).toBe(400);
    expect((await json("GET", "/secrets")).text).not.toContain('"b"');
  });
});

describe("values as they are", () => {
  test("PUT stores every byte, creates or changes", async ({ expect }) => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    expect((await call(path, "PUT", "/secrets/a/value?permissions=0400&uid=5&group=app", bytes)).status).toBe(201);
    expect((await valueOf("a")).equals(bytes)).toBe(true);
    const changed = await call(path, "PUT", "/secrets/a/value", "");
    expect(changed.status).toBe(200);
    expect(JSON.parse(changed.text)).toMatchObject({ size: 0, permissions: "0400", uid: 5, group: "app", version: 2 });
  });

  test("only creates with If-None-Match, only updates with If-Match", async ({ expect }) => {
    const create = { "if-none-match": "*" };
    const update = { "if-match": "*" };
    expect((await call(path, "PUT", "/secrets/a/value", CANARY, update)).status).toBe(404);
    expect((await call(path, "PUT", "/secrets/a/value", CANARY, create)).status).toBe(201);
    expect((await call(path, "PUT", "/secrets/a/value", "other", create)).status).toBe(409);
    expect((await call(path, "PUT", "/secrets/a/value", "other", { ...create, ...update })).status).toBe(400);
    expect((await call(path, "PUT", "/secrets/a/value", "other", { "if-match": '"1"' })).status).toBe(400);
    expect((await valueOf("a")).toString()).toBe(CANARY);
  });

  test("env alone makes a variable and no file", async ({ expect }) => {
    const put = await call(path, "PUT", "/secrets/a/value?env=TOKEN", CANARY);
    expect(JSON.parse(put.text)).toMatchObject({ delivery: "env", env: "TOKEN" });
    const both = await call(path, "PUT", "/secrets/b/value?env=TOKEN&file=true&path=t/x", CANARY);
    expect(JSON.parse(both.text)).toMatchObject({ delivery: "file+env", path: "t/x" });
    expect((await call(path, "PUT", "/secrets/c/value?env=TOKEN&permissions=0400", CANARY)).status).toBe(400);
  });

  test("a mebibyte is taken, in one piece or chunked, and in base64; a byte more is 413", async ({ expect }) => {
    const full = Buffer.alloc(1_048_576, 0x61);
    const more = Buffer.alloc(1_048_577, 0x61);
    const chunked = { "transfer-encoding": "chunked" };
    expect((await call(path, "PUT", "/secrets/a/value", full)).status).toBe(201);
    expect((await call(path, "PUT", "/secrets/b/value", full, chunked)).status).toBe(201);
    expect((await json("POST", "/secrets", { name: "c", data: full.toString("base64") })).status).toBe(201);
    expect((await call(path, "PUT", "/secrets/d/value", more)).status).toBe(413);
    expect((await call(path, "PUT", "/secrets/d/value", more, chunked)).status).toBe(413);
    const tooLarge = await json("POST", "/secrets", { name: "d", data: more.toString("base64") });
    expect(tooLarge.status).toBe(413);
    expect(JSON.parse(tooLarge.text)).toMatchObject({ code: "too-large" });
    expect((await json("GET", "/secrets/d")).status).toBe(404);
  });

  test("a client that waits for 100 Continue gets it", async ({ expect }) => {
    const socket = connect(path);
    socket.write("PUT /secrets/a/value HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n");
    const [first] = (await once(socket, "data")) as [Buffer];
    expect(first.toString()).toContain("100 Continue");
    socket.write("ok");
    const [second] = (await once(socket, "data")) as [Buffer];
    expect(second.toString()).toContain("201 Created");
    socket.destroy();
  });

  test("a body that breaks off stores nothing, and what had come is wiped", async ({ expect }) => {
    const chunks: Buffer[] = [];
    server.prependListener("request", (incoming) => incoming.on("data", (chunk: Buffer) => chunks.push(chunk)));
    const socket = connect(path);
    socket.write(`PUT /secrets/a/value HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n${CANARY}`);
    while (chunks.length === 0) await turn();
    socket.destroy();
    while (await connections()) await turn();
    expect(Buffer.concat(chunks).every((byte) => byte === 0)).toBe(true);
    expect((await json("GET", "/secrets/a")).status).toBe(404);
  });
});

test("of 20 who create the same name at once, one does", async ({ expect }) => {
  const replies = await Promise.all(
    Array.from({ length: 20 }, (_, at) =>
      json("POST", "/secrets", { name: "a", data: Buffer.from(`value ${at}`).toString("base64") }),
    ),
  );
  expect(replies.map(({ status }) => status).filter((status) => status === 409)).toHaveLength(19);
  const winner = replies.findIndex(({ status }) => status === 201);
  expect((await valueOf("a")).toString()).toBe(`value ${winner}`);
});

describe("what a VM has", () => {
  beforeEach(async () => {
    await json("POST", "/secrets", { name: "a", data: BASE64 });
    const caller = { kind: "embedded", uid: 0, purpose: "test" } as const;
    await home.vault.createVm(caller, { name: "web-1", runner: { uid: 12_345, gid: 12_345 }, grants: [] });
  });

  test("attach, list and detach", async ({ expect }) => {
    const attached = await json("PUT", "/vms/web-1/secrets/a", { path: "conf/a", permissions: "440" });
    expect(attached.status).toBe(200);
    expect(JSON.parse(attached.text)).toMatchObject({ name: "a", path: "conf/a", permissions: "0440", version: 1 });
    expect(JSON.parse((await json("GET", "/vms/web-1/secrets")).text)).toEqual([JSON.parse(attached.text)]);
    expect((await json("GET", "/secrets/a/vms")).text).toBe('["web-1"]');
    expect((await json("DELETE", "/vms/web-1/secrets/a")).status).toBe(204);
    expect((await json("GET", "/vms/web-1/secrets")).text).toBe("[]");
  });

  test("attaching needs no body; a secret or vm that is not there is 404", async ({ expect }) => {
    expect((await json("PUT", "/vms/web-1/secrets/a")).status).toBe(200);
    expect((await json("PUT", "/vms/web-1/secrets/b")).status).toBe(404);
    expect((await json("PUT", "/vms/web-2/secrets/a")).status).toBe(404);
    expect((await json("DELETE", "/vms/web-1/secrets/b")).status).toBe(404);
  });

  test("removing a secret says who had it", async ({ expect }) => {
    await json("PUT", "/vms/web-1/secrets/a");
    expect(JSON.parse((await json("DELETE", "/secrets/a")).text)).toEqual({ name: "a", vms: ["web-1"] });
  });
});

describe("requests that no client should send", () => {
  test.for([
    "/secrets/../secrets",
    "/secrets/%2e%2e/vms",
    "/secrets/a%2fvalue",
    "/secrets/a%00",
    "//secrets",
    "/secrets//a",
    "http://x/secrets",
    "/./secrets",
  ])("GET %s", async (target, { expect }) => {
    const { status, text } = await raw(path, `GET ${target} HTTP/1.1\r\nhost: x\r\n\r\n`);
    expect(status).toBe(400);
    expect(text).toContain('"code":"invalid"');
  });

  test("two lengths, or a length and chunks, are refused", async ({ expect }) => {
    const start = "PUT /secrets/a/value HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n";
    expect((await raw(path, `${start}content-length: 4\r\n\r\nabcd`)).status).toBe(400);
    expect((await raw(path, `${start}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`)).status).toBe(400);
    expect((await json("GET", "/secrets")).text).toBe("[]");
  });

  test("headers over 16 KiB are 431", async ({ expect }) => {
    expect((await raw(path, `GET /secrets HTTP/1.1\r\nhost: x\r\na: ${"a".repeat(17_000)}\r\n\r\n`)).status).toBe(431);
  });

  test("another method is 405 and says which there are", async ({ expect }) => {
    const reply = await json("PUT", "/secrets");
    expect(reply.status).toBe(405);
    expect(reply.headers.allow).toBe("GET, HEAD, POST");
    expect((await call(path, "GET", "/secrets/a/value")).status).toBe(405);
  });

  test("an unknown path is 404, an unknown query parameter 400", async ({ expect }) => {
    expect((await json("GET", "/secret")).status).toBe(404);
    expect(error(await json("GET", "/secrets?limit=1"))).toBe('unknown query parameter "limit"');
    expect(error(await json("GET", "/logs?lines=1&lines=2"))).toBe('the query parameter "lines" is there twice');
  });
});

test("the API describes itself", async ({ expect }) => {
  const described = JSON.parse((await json("GET", "/openapi.json")).text) as { paths: Record<string, object> };
  expect(Object.keys(described.paths["/secrets/{name}"] ?? {})).toEqual(["get", "patch", "delete"]);
});

test("another user of the host is refused by who he is, even where the files let him through", async ({ expect }) => {
  await json("POST", "/secrets", { name: "a", data: BASE64 });
  await chmod(home.folder, 0o711);
  await chmod(path, 0o666);
  const ask = `require("node:http").get({ socketPath: process.argv[1], path: "/secrets" }, async (answer) => {
    for await (const chunk of answer) process.stdout.write(answer.statusCode + " " + chunk);
  })`;
  const other = { uid: 65_534, gid: 65_534, cwd: "/" };
  const { stdout } = await promisify(execFile)("node", ["-e", ask, path], other);
  expect(stdout).toContain('403 {"error":"uid 65534 may not administrate the secrets of uid 0"');
});

test("HEAD answers as GET, without a body", async ({ expect }) => {
  const reply = await call(path, "HEAD", "/secrets");
  expect([reply.status, reply.text]).toEqual([200, ""]);
});

test("the log is followed until the client goes", async ({ expect }) => {
  const socket = connect(path);
  socket.write("GET /logs?lines=7&follow=true HTTP/1.1\r\nhost: x\r\n\r\n");
  let seen = "";
  for await (const chunk of socket) {
    seen += (chunk as Buffer).toString();
    if (seen.includes("the last 7")) break;
  }
  expect(seen).toContain("text/plain");
  while (await connections()) await turn();
});

function connections(): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((problem, count) => (problem ? reject(problem) : resolve(count)));
  });
}

test("a fault of ours is opaque outside and has its causes in the log", async ({ expect }) => {
  // There are no machines here, so asking for them is a fault.
  const reply = await json("GET", "/vms");
  expect(reply.status).toBe(500);
  const id = /^internal error ([0-9a-f]{12})$/.exec(error(reply))?.[1];
  expect(id).toBeDefined();
  expect(log.join("\n")).toContain(`internal error ${id}: HatchwayError: internal error <- TypeError`);
});

test("no value is in an answer, the log or the audit trail", async ({ expect }) => {
  const wrong = [
    await json("POST", "/secrets", { name: CANARY, data: `${BASE64}!` }),
    await json("POST", "/secrets", { name: "a", Data: BASE64 }),
    await json("POST", "/secrets", { name: "a", data: [CANARY] }),
    await call(path, "POST", "/secrets", `{"name":"a","data":"${BASE64}`),
    await call(path, "POST", "/secrets", CANARY),
    await call(path, "PUT", "/secrets/a/value?uid=x", CANARY),
    await json("POST", "/secrets", { name: "a", data: BASE64 }),
    await call(path, "PUT", "/secrets/a/value", CANARY),
    await json("GET", "/secrets"),
  ];
  const audit = await readFile(home.places.audit, "utf8");
  const told = [...wrong.map(({ text }) => text), ...log, audit].join("\n");
  expect(told).not.toContain(CANARY);
  expect(told).not.toContain(BASE64);
});
