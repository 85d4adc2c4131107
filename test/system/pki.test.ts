// Certificates of `hatchway pki`: other programs take them, and a daemon takes their changes while it serves.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, onTestFinished, test } from "vitest";
import type { Client } from "#client/client";
import { connect } from "#client/connect";
import { Daemon } from "#daemon/daemon";
import { Authority, pemFile } from "#pki/authority";
import { newest, type Issued, type Kind } from "#pki/issued";
import { DaemonProcess } from "#test/kit/daemon-process";

const run = promisify(execFile);
const HOSTS = ["localhost", "127.0.0.1"];

let folder: string;
let pki: string;
let daemon: Daemon | undefined;

beforeEach(async () => {
  folder = mkdtempSync("/tmp/hw.");
  pki = join(folder, "pki");
  mkdirSync(join(folder, "config"), { mode: 0o700 });
  await using authority = await Authority.create(pki, 30);
  await authority.issue({ kind: "server", name: "db", hosts: HOSTS });
  for (const name of ["ci", "ada"]) await authority.issue({ kind: "client", name });
  await authority.issue({ kind: "guest", name: "web-1", vmId: "00112233445566778899aabbccddeeff" });
});
afterEach(async () => {
  await daemon?.close();
  daemon = undefined;
  rmSync(folder, { recursive: true });
});

const ca = (): string => join(pki, "ca.crt");
const file = (kind: Kind, name: string): string => pemFile(pki, { kind, name });

async function renew(kind: Kind, name: string): Promise<Issued> {
  await using authority = await Authority.open(pki);
  const one = newest(authority.register.certificates, { kind, name });
  if (!one) throw new Error(`no ${kind} ${name}`);
  return authority.renew(one);
}

async function revoke(kind: Kind, name: string): Promise<void> {
  await using authority = await Authority.open(pki);
  await authority.revoke({ kind, name });
}

/** Serves, and gives the port. */
async function serve(more = "", certificate = file("server", "db")): Promise<number> {
  const config = `listen:
  - address: 127.0.0.1:0
    certificate: ${certificate}
    clients: ${ca()}
    revoked: ${join(pki, "crl.pem")}
${more}`;
  writeFileSync(join(folder, "config/config.yaml"), config);
  const runtime = join(folder, "run");
  const socket = join(runtime, "hatchway.sock");
  const places = { state: join(folder, "state"), config: join(folder, "config/config.yaml"), runtime, socket };
  const started = await Daemon.start({
    mode: "session",
    places,
    echo: false,
    onFatal: (error) => started.log.report(error),
  });
  daemon = started;
  return Number(/serves on 127\.0\.0\.1:(\d+)\n/.exec(await started.log.tail(9))?.[1]);
}

function client(port: number, name: string): Client {
  return connect(`https://localhost:${port}`, {}, { cert: file("client", name), ca: ca() });
}

/** Waits for a line of the daemon's log, and gives how often it is there. */
async function logged(text: string): Promise<number> {
  for (;;) {
    const lines = ((await daemon?.log.tail(100)) ?? "").split("\n").filter((line) => line.includes(text));
    if (lines.length > 0) return lines.length;
    await sleep(20);
  }
}

/** What each connection could be resumed by. */
const tickets = new WeakMap<TLSSocket, Buffer>();

/** An open connection with a client's certificate. */
async function dial(port: number, name: string, session?: Buffer): Promise<TLSSocket> {
  const pem = readFileSync(file("client", name));
  const options = { host: "127.0.0.1", port, servername: "localhost", ca: readFileSync(ca()), cert: pem, key: pem };
  const socket = connectTls({ ...options, ...(session && { session }) });
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => undefined);
  socket.on("session", (ticket: Buffer) => tickets.set(socket, ticket));
  await new Promise((resolve) => socket.once("secureConnect", resolve));
  return socket;
}

/** Asks once more on an open connection, and gives the status; undefined if it is closed. */
function ask(socket: TLSSocket): Promise<number | undefined> {
  return new Promise((resolve) => {
    socket.once("data", (chunk: Buffer) => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(chunk.toString())?.[1])));
    socket.once("close", () => resolve(undefined));
    if (socket.destroyed) resolve(undefined);
    socket.write("GET /whoami HTTP/1.1\r\nhost: x\r\n\r\n");
  });
}

describe("another program", () => {
  test("takes each certificate under the strict rules of RFC 5280, and not one that is revoked", async ({ expect }) => {
    await revoke("client", "ada").then(() => renew("client", "ci"));
    const rules = ["-x509_strict", "-crl_check", "-CRLfile", join(pki, "crl.pem"), "-CAfile", ca()];
    const verify = (purpose: string, path: string) => run("openssl", ["verify", ...rules, "-purpose", purpose, path]);
    await verify("sslserver", file("server", "db"));
    for (const path of [file("client", "ci"), file("guest", "web-1")]) {
      await verify("sslclient", path);
      await expect(verify("sslserver", path)).rejects.toMatchObject({ code: 2 });
    }
    await expect(verify("sslclient", file("server", "db"))).rejects.toMatchObject({ code: 2 });
    const { stdout } = await run("openssl", [
      "x509",
      "-noout",
      "-ext",
      "subjectAltName",
      "-in",
      file("guest", "web-1"),
    ]);
    expect(stdout).toContain("URI:hatchway:vm:web-1");
    const list = await run("openssl", ["crl", "-noout", "-text", "-CAfile", ca(), "-in", join(pki, "crl.pem")]);
    expect(list.stdout).toContain("Revoked Certificates:");
    expect(list.stderr).toContain("verify OK");
  });

  test("comes in by a client's certificate, and not by a guest's", async ({ expect }) => {
    const port = await serve();
    const curl = (path: string): Promise<{ stdout: string }> =>
      run("curl", ["-sS", "--cacert", ca(), "--cert", path, `https://localhost:${port}/whoami`]);
    expect(JSON.parse((await curl(file("client", "ci"))).stdout)).toMatchObject({
      caller: expect.stringMatching(/^certificate:ci,/) as string,
    });
    expect(JSON.parse((await curl(file("guest", "web-1"))).stdout)).toMatchObject({ code: "forbidden" });
    await expect(curl(file("server", "db"))).rejects.toThrow();
  });
});

describe("a daemon that serves", () => {
  test("takes a renewed certificate by itself, and open connections go on", async ({ expect }) => {
    const port = await serve();
    const open = await dial(port, "ci");
    const before = open.getPeerCertificate().serialNumber;
    const { serial } = await renew("server", "db");
    await logged(": certificate");
    expect((await dial(port, "ci")).getPeerCertificate().serialNumber).toBe(serial);
    expect(serial).not.toBe(before);
    expect(await ask(open)).toBe(200);
  });

  test("keeps the pair that it has while another is half-written or does not fit, and says so once", async ({
    expect,
  }) => {
    const [certificate, key] = [join(folder, "s.crt"), join(folder, "s.key")];
    copyFileSync(file("server", "db"), certificate);
    copyFileSync(file("server", "db"), key);
    const port = await serve(`    key: ${key}\n`, certificate);
    const { serialNumber } = (await dial(port, "ci")).getPeerCertificate();
    const { serial } = await renew("server", "db");
    const whole = readFileSync(file("server", "db"));
    writeFileSync(certificate, whole.subarray(0, 300));
    await logged(`keeps the certificate it has: "${certificate}" is not a certificate in PEM`);
    writeFileSync(certificate, whole);
    const pairless = `keeps the certificate it has: the certificate "${certificate}" and the key "${key}" do not belong`;
    await logged(pairless);
    for (let times = 0; times < 3; times++) await daemon?.reload();
    expect(await logged(pairless)).toBe(1);
    const weak = ["-newkey", "rsa:512", "-nodes", "-subj", "/CN=weak", "-keyout", key, "-out", certificate];
    await run("openssl", ["req", "-x509", ...weak]);
    await logged(`keeps the certificate it has: TLS does not take the certificate "${certificate}": ee key too small`);
    expect((await dial(port, "ci")).getPeerCertificate().serialNumber).toBe(serialNumber);
    for (const path of [certificate, key]) writeFileSync(path, whole);
    await logged(": certificate");
    expect((await dial(port, "ci")).getPeerCertificate().serialNumber).toBe(serial);
  });

  test("ends the connections of a certificate that is revoked, and lets it in no more", async ({ expect }) => {
    const port = await serve();
    const [revoked, other] = [await dial(port, "ci"), await dial(port, "ada")];
    expect(await ask(revoked)).toBe(200);
    const session = tickets.get(revoked);
    expect(session).toBeDefined();
    copyFileSync(file("client", "ci"), join(folder, "ci.pem"));
    const ended = new Promise((resolve) => void revoked.once("close", resolve));
    await revoke("client", "ci");
    await ended;
    await logged("which ended 1 open connection");
    expect(await ask(other)).toBe(200);
    copyFileSync(join(folder, "ci.pem"), file("client", "ci"));
    await expect(client(port, "ci").whoami()).rejects.toMatchObject({ code: "unavailable" });
    expect(await dial(port, "ci", session).then(ask)).toBeUndefined();
    expect((await client(port, "ada").whoami()).caller).toMatch(/^certificate:ada/);
  });

  test("ends what came in by an authority that is not theirs any more", async ({ expect }) => {
    const port = await serve();
    const open = await dial(port, "ci");
    const ended = new Promise((resolve) => void open.once("close", resolve));
    const other = join(folder, "other");
    await (await Authority.create(other, 30))[Symbol.asyncDispose]();
    copyFileSync(join(other, "ca.crt"), ca());
    await logged("keeps the client authority it has");
    expect(await ask(open)).toBe(200);
    copyFileSync(join(other, "crl.pem"), join(pki, "crl.pem"));
    await ended;
  });

  test("takes a token away, or another, with the next request", async ({ expect }) => {
    const path = join(folder, "token");
    const token = randomBytes(32).toString("hex");
    writeFileSync(path, token, { mode: 0o600 });
    const port = await serve(`tokens: {ci: ${path}}\n`);
    const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: readFileSync(ca()) });
    onTestFinished(() => agent.destroy());
    const status = (shown: string): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        const headers = { authorization: `Bearer ${shown}` };
        request({ host: "localhost", port, path: "/secrets", headers, agent }, (answer) => {
          answer.resume().on("end", () => resolve(answer.statusCode));
        })
          .on("error", reject)
          .end();
      });
    expect(await status(token)).toBe(200);
    chmodSync(path, 0o644);
    await daemon?.reload();
    await logged(`token "ci" is off: "${path}" is open to others: its mode is 0644`);
    expect(await status(token)).toBe(401);
    chmodSync(path, 0o600);
    await daemon?.reload();
    expect(await status(token)).toBe(200);
    const another = randomBytes(32).toString("hex");
    writeFileSync(path, another);
    await logged('token "ci" is another one now');
    expect([await status(token), await status(another)]).toEqual([401, 200]);
    rmSync(path);
    await logged(`token "ci" is off: there is no token file "${path}"`);
    expect(await status(another)).toBe(401);
  });
});

test("SIGHUP reads tokens and certificates again, and ends nothing", async ({ expect }) => {
  await using made = new DaemonProcess();
  const path = join(folder, "token");
  writeFileSync(path, randomBytes(32).toString("hex"), { mode: 0o600 });
  const { child, stderr } = await made.serve({}, ["--listen", "127.0.0.1:0", "--token-file", path]);
  chmodSync(path, 0o640);
  child.kill("SIGHUP");
  while (!stderr().includes('token "token-file" is off')) await sleep(20);
  expect(stderr()).toContain("SIGHUP: reading tokens and certificates again");
  await made.ok(["secret", "create", "db"], "still served");
});
