// Guests that come over a network: whom the host lets in, and to whom the agent gives its word.
import { spawn } from "node:child_process";
import { createPrivateKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectTcp, createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { connect, createServer, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, onTestFinished, test } from "vitest";
import { pem } from "#keygen/pem";
import { Authority, pemFile } from "#pki/authority";
import { bearerCertificate } from "#pki/profile";
import { RUNNER_A, RUNNER_B, TestDaemon } from "#test/kit/daemon";
import { COMPILED, ended, type Ended } from "#test/kit/guest-namespace";
import { authorityFolder, guestListenConfig, hostIn, issueGuest, openTls } from "#test/kit/tls-guest";
import { until } from "#test/kit/until";

const DAY = 86_400_000;
/** Users that every Debian has: sys, sync. */
const RUNNER_C = 3;
const RUNNER_D = 4;

let daemon: TestDaemon;
/** What VMs a and b have. */
let a: string;
let b: string;
let scratch: string;

beforeAll(async () => {
  scratch = mkdtempSync("/tmp/hw-tls-");
  daemon = await TestDaemon.open("system", guestListenConfig);
  await daemon.secret("db", "of a");
  await daemon.secret("other", "of b");
  a = await issueGuest(daemon.folder, await daemon.vm("a", RUNNER_A, "db"));
  b = await issueGuest(daemon.folder, await daemon.vm("b", RUNNER_B, "other"));
});
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  rmSync(scratch, { recursive: true });
});

function authority(): Promise<Authority> {
  return Authority.open(authorityFolder(daemon.folder));
}

/** What the host answers to a request for `db` by what a file shows: its status, or nothing. */
async function statusBy(file: string, path = "/v1/secrets/db"): Promise<number | undefined> {
  const connection = await openTls(file);
  const answer = await connection.ask(`GET ${path}`);
  connection.close();
  return answer?.status;
}

/** Writes a guest's file of parts of others. */
function fileOf(name: string, ...parts: (string | Buffer)[]): string {
  const { host, port } = hostIn(a);
  const file = join(scratch, name);
  writeFileSync(file, Buffer.concat([`Host: ${host}:${port}\n`, ...parts].map((part) => Buffer.from(part))), {
    mode: 0o600,
  });
  return file;
}

/** The certificate and key of a file, or the authority behind them. */
function partOf(file: string, which: "own" | "authority"): Buffer {
  const bytes = readFileSync(file);
  const begin = bytes.indexOf("-----BEGIN");
  const end = bytes.lastIndexOf("-----BEGIN CERTIFICATE-----");
  return which === "own" ? bytes.subarray(begin, end) : bytes.subarray(end);
}

async function sync(file: string, ...more: string[]): Promise<Ended> {
  const root = mkdtempSync("/dev/shm/hw-agent-");
  onTestFinished(() => rmSync(root, { recursive: true }));
  const [program = "", ...first] = COMPILED.command;
  const words = [...first, "sync", "--tls", file, "--root", root, "--no-mount", ...more];
  return ended(spawn(program, words, { stdio: ["ignore", "pipe", "pipe"] }));
}

describe("the host", () => {
  test("gives each certificate the secrets of its VM alone", async ({ expect }) => {
    expect([await statusBy(a), await statusBy(b)]).toEqual([200, 404]);
    expect([await statusBy(a, "/v1/secrets/other"), await statusBy(b, "/v1/secrets/other")]).toEqual([404, 200]);
    const log = readFileSync(join(daemon.places.state, "audit.jsonl"), "utf8");
    expect(log).toMatch(/"caller":"vm:[0-9a-f]{32},tcp"/);
  });

  test("lets nobody in by a certificate that is not of a VM that there is", async ({ expect }) => {
    await using ours = await authority();
    const client = await ours.issue({ kind: "client", name: "admin" });
    const nowhere = await ours.issue({ kind: "guest", name: "a2", vmId: "0".repeat(32) });
    await using theirs = await Authority.create(join(scratch, "theirs"), 30);
    const foreign = await theirs.issue({ kind: "guest", name: "a", vmId: (await daemon.show("a")).id });
    const shown = {
      "a client of the admin API": pemFile(ours.folder, client),
      "a VM that there is not": pemFile(ours.folder, nowhere),
      "the VM's own id, of another authority": pemFile(theirs.folder, foreign),
    };
    for (const [who, path] of Object.entries(shown)) {
      const pair = readFileSync(path);
      const text = pair.toString();
      const key = text.indexOf("-----BEGIN PRIVATE KEY");
      const own = text.slice(text.indexOf("-----BEGIN"), text.indexOf("-----END PRIVATE KEY-----", key) + 26);
      const file = fileOf("refused.pem", own, partOf(a, "authority"));
      expect(await statusBy(file), who).toBeUndefined();
      const { code, stderr } = await sync(file);
      expect([code, stderr], who).toEqual([1, expect.stringMatching(/^error: the host (closed|does not|ended)/)]);
    }
    const log = await daemon.log();
    expect(log).toContain("names no vm");
    expect(log).toContain(`is of vm ${"0".repeat(32)}, which there is not`);
  });

  test("lets nobody in without a certificate, nor by an older TLS", async ({ expect }) => {
    const ca = partOf(a, "authority");
    const bare = connect({ ...hostIn(a), ca });
    const failed = once(bare, "error");
    bare.on("secureConnect", () => bare.write("GET /v1/secrets/db HTTP/1.1\r\nhost: x\r\n\r\n"));
    bare.resume();
    expect(String((await failed)[0])).toContain("certificate required");
    const old = connect({ ...hostIn(a), ca, cert: readFileSync(a), key: readFileSync(a), maxVersion: "TLSv1.2" });
    expect(String((await once(old, "error"))[0])).toMatch(/protocol version/);
  });

  test("takes up no session again", async ({ expect }) => {
    const first = await openTls(a);
    let session: Buffer | undefined;
    (first.socket as TLSSocket).on("session", (ticket: Buffer) => (session = ticket));
    expect((await first.ask("GET /v1/secrets/db"))?.status).toBe(200);
    first.close();
    const second = await openTls(a, session && { session });
    expect((second.socket as TLSSocket).isSessionReused()).toBe(false);
    second.close();
  });

  test("knows a VM of an earlier one's name by its new certificate alone", async ({ expect }) => {
    const vm = await daemon.vm("c", RUNNER_C, "db");
    const before = fileOf("before.pem", readFileSync(await issueGuest(daemon.folder, vm)));
    const open = await openTls(before);
    expect((await open.ask("GET /v1/secrets/db"))?.status).toBe(200);
    await daemon.tell("DELETE", "/vms/c");
    await open.closed();
    const again = await daemon.vm("c", RUNNER_C, "db");
    expect(await statusBy(before)).toBeUndefined();
    expect(await statusBy(await issueGuest(daemon.folder, again))).toBe(200);
  });

  test("keeps 32 conversations of one VM, and serves another all the while", async ({ expect }) => {
    const all = await Promise.all(Array.from({ length: 40 }, () => openTls(a)));
    onTestFinished(() => all.forEach((one) => one.close()));
    await until("32 are left", () => all.filter(({ ended: isOver }) => !isOver).length === 32);
    expect(await statusBy(b, "/v1/secrets/other")).toBe(200);
    const kept = all.find(({ ended: isOver }) => !isOver);
    expect((await kept?.ask("GET /v1/secrets/db"))?.status).toBe(200);
  });

  test("ends the conversation of a certificate that is revoked, and begins no other", async ({ expect }) => {
    const vm = await daemon.vm("d", RUNNER_D, "db");
    const kept = fileOf("kept.pem", readFileSync(await issueGuest(daemon.folder, vm)));
    const [open, untouched] = [await openTls(kept), await openTls(a)];
    expect((await open.ask("GET /v1/secrets/db"))?.status).toBe(200);
    {
      await using ours = await authority();
      await ours.revoke({ kind: "guest", name: "d" });
    }
    await open.closed();
    expect((await untouched.ask("GET /v1/secrets/db"))?.status).toBe(200);
    untouched.close();
    expect(await statusBy(kept)).toBeUndefined();
    const { code, stderr } = await sync(kept);
    expect([code, stderr]).toEqual([1, expect.stringContaining("the host closed the connection")]);
    await until("the log says so", async () => (await daemon.log()).includes("turned away a guest"));
  });

  test("serves who is there and who comes while a thousand half-open connections and garbage press", async ({
    expect,
  }) => {
    const served = await openTls(a);
    expect((await served.ask("GET /v1/secrets/db"))?.status).toBe(200);
    const sockets: Socket[] = [];
    onTestFinished(() => sockets.forEach((socket) => socket.destroy()));
    for (let at = 0; at < 1_000; at++) {
      const socket = connectTcp(hostIn(a));
      socket.on("error", () => undefined);
      // Some say nothing, some what is no TLS, some the beginning of it.
      if (at % 3 === 1) socket.write("GET /v1/bundle HTTP/1.1\r\n\r\n");
      if (at % 3 === 2) socket.write(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]));
      sockets.push(socket);
      if (at % 100 === 0) expect((await served.ask("GET /v1/secrets/db"))?.status).toBe(200);
    }
    expect((await served.ask("GET /v1/secrets/db"))?.status).toBe(200);
    expect(await statusBy(b, "/v1/secrets/other")).toBe(200);
    expect(await sync(a)).toMatchObject({ code: 0 });
    await until("64 are left", () => sockets.filter((socket) => !socket.destroyed).length <= 64);
    served.close();
  });
});

/** A host that shows a certificate of the test's own; the port where it listens. */
async function impostor(certificate: Buffer, key: Buffer): Promise<number> {
  const server = createServer({ cert: certificate, key, requestCert: true, rejectUnauthorized: false });
  server.on("secureConnection", (socket) => socket.on("error", () => undefined));
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

describe("the agent", () => {
  test("gives its word to no host of another authority, name or purpose", async ({ expect }) => {
    await using ours = await authority();
    await using theirs = await Authority.create(join(scratch, "impostors"), 30);
    const hosts = ["127.0.0.1"];
    const shown: [string, Authority, Parameters<Authority["issue"]>[0]][] = [
      ["comes from none of the authorities", theirs, { kind: "server", name: "theirs", hosts }],
      ["is for another name", ours, { kind: "server", name: "elsewhere", hosts: ["192.0.2.1", "localhost"] }],
      ["is not for a server", ours, { kind: "guest", name: "rogue", vmId: "1".repeat(32) }],
    ];
    for (const [problem, by, bearer] of shown) {
      const pair = readFileSync(pemFile(by.folder, await by.issue(bearer)));
      const { code, stderr } = await sync(a, "--from", `tls:127.0.0.1:${await impostor(pair, pair)}`);
      expect([code, stderr]).toEqual([1, expect.stringContaining(`error: the certificate that the host shows`)]);
      expect(stderr).toContain(problem);
    }
  });

  test("gives its word to no host whose certificate has ended, or has not begun", async ({ expect }) => {
    const folder = authorityFolder(daemon.folder);
    const issuer = new X509Certificate(readFileSync(join(folder, "ca.crt")));
    const signer = createPrivateKey(readFileSync(join(folder, "ca.key")));
    const now = Date.now();
    const spans: [string, number, number][] = [
      ["has expired by this guest's clock", now - 2 * DAY, now - DAY],
      ["is not yet good by this guest's clock", now + DAY, now + 2 * DAY],
    ];
    for (const [problem, notBefore, notAfter] of spans) {
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
      const one = { kind: "server" as const, name: "x", serial: "40", hosts: ["127.0.0.1"], notBefore, notAfter };
      const der = bearerCertificate(one, Buffer.from([0x40]), privateKey, issuer, signer);
      const key = Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" }));
      const port = await impostor(pem("CERTIFICATE", der), key);
      const { code, stderr } = await sync(a, "--from", `tls:127.0.0.1:${port}`);
      expect([code, stderr]).toEqual([1, expect.stringContaining(problem)]);
    }
  });

  test("finds its host by name", async ({ expect }) => {
    expect(await sync(a, "--from", `tls:localhost:${hostIn(a).port}`)).toMatchObject({ code: 0, stderr: "" });
    const { code, stderr } = await sync(a, "--from", "tls:no-such-host.invalid:5107");
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^error: cannot reach the host by tls:no-such-host\.invalid:5107: .*no such host/),
    ]);
  });

  test("says what is wrong with what it is to show", async ({ expect }) => {
    const other = partOf(b, "own").toString();
    const swapped = partOf(a, "own")
      .toString()
      .replace(/-----BEGIN PRIVATE KEY-----.*/s, other.slice(other.indexOf("-----BEGIN PRIVATE KEY-----")));
    const open = fileOf("open.pem", partOf(a, "own"), partOf(a, "authority"));
    chmodSync(open, 0o644);
    const files: [string, string][] = [
      [fileOf("none.pem", "nothing"), "should hold a certificate, its key, and behind them the host's authority"],
      [fileOf("bare.pem", partOf(a, "own")), "should hold a certificate, its key, and behind them"],
      [fileOf("swapped.pem", swapped, partOf(a, "authority")), "a certificate of another key"],
      [fileOf("broken.pem", partOf(a, "own").toString().replace("MII", "MIJ"), partOf(a, "authority")), "is not taken"],
      [open, "should be a file of root alone, 0600, it is uid 0's, mode 644"],
      ["/nonexistent/tls.pem", "no such file"],
    ];
    for (const [file, problem] of files) {
      const { code, stderr } = await sync(file, "--from", `tls:127.0.0.1:${hostIn(a).port}`);
      expect([code, stderr], problem).toEqual([1, expect.stringContaining(problem)]);
      expect(stderr).not.toMatch(/BEGIN|MII/);
    }
  });

  test("gives up on a host that accepts and says no more, and on one that ends in the middle", async ({ expect }) => {
    const mute = createTcpServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", () => socket.end(Buffer.from([22, 3, 3, 0, 100, 2])));
    });
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    onTestFinished(() => void mute.close());
    const { port } = mute.address() as AddressInfo;
    const { code, stderr } = await sync(a, "--from", `tls:127.0.0.1:${port}`);
    expect([code, stderr]).toEqual([1, "error: the host closed the connection before TLS was agreed on\n"]);
  });
});
