// The admin API over TCP: a daemon on the loopback, clients with tokens and certificates, and some with neither.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, test } from "vitest";
import type { Client } from "#client/client";
import { connect } from "#client/connect";
import type { CredentialFiles } from "#client/uri";
import { Daemon } from "#daemon/daemon";
import { parseAddress } from "#daemon/listen";
import { runCli } from "#test/kit/run-cli";
import { auditLines } from "#test/kit/vault";

const token = randomBytes(32).toString("hex");

let certificates: string;
let folder: string;
let daemon: Daemon;

/** An authority, a server's certificate and a client's; and a client's that another authority signed. */
beforeAll(() => {
  certificates = mkdtempSync("/tmp/hw.");
  const openssl = (...words: string[]): Buffer =>
    execFileSync("openssl", words, { cwd: certificates, stdio: ["ignore", "pipe", "pipe"] });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  for (const ca of ["ca", "other"]) {
    openssl("req", "-x509", ...key, "-keyout", `${ca}.key`, "-out", `${ca}.crt`, "-subj", `/CN=${ca}`, "-days", "2");
  }
  for (const [name, ca, cn] of [
    ["server", "ca", "localhost"],
    ["client", "ca", "ci-1"],
    ["foreign", "other", "ci-1"],
    ["odd", "ca", "ci 1\\, root"],
  ] as const) {
    openssl("req", ...key, "-keyout", `${name}.key`, "-out", `${name}.csr`, "-subj", `/CN=${cn}`);
    writeFileSync(join(certificates, "names"), "subjectAltName=DNS:localhost,IP:127.0.0.1");
    const by = ["-CA", `${ca}.crt`, "-CAkey", `${ca}.key`, "-CAcreateserial", "-extfile", "names", "-days", "2"];
    openssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.crt`, ...by);
  }
});
afterAll(() => rmSync(certificates, { recursive: true }));

beforeEach(() => {
  folder = mkdtempSync("/tmp/hw.");
  mkdirSync(join(folder, "config"), { mode: 0o700 });
  writeFileSync(join(folder, "token"), `${token}\n`, { mode: 0o600 });
});
afterEach(async () => {
  await daemon?.close();
  rmSync(folder, { recursive: true });
});

/** Serves, and gives the address that was free. */
async function serve(config: string): Promise<{ host: string; port: number }> {
  writeFileSync(join(folder, "config/config.yaml"), config);
  const runtime = join(folder, "run");
  const places = {
    state: join(folder, "state"),
    config: join(folder, "config/config.yaml"),
    runtime,
    socket: join(runtime, "hatchway.sock"),
  };
  daemon = await Daemon.start({ mode: "session", places, echo: false, onFatal: (error) => daemon.log.report(error) });
  const [, address = ""] = /serves on (\S+:\d+)\n/.exec(await daemon.log.tail(5)) ?? [];
  const parsed = parseAddress(address);
  if (!parsed) throw new Error("the daemon listens nowhere");
  return parsed;
}

const plain = (): string => `listen: ["127.0.0.1:0"]\ntokens: {ci: ${folder}/token}\n`;

function pem(name: string): string {
  return join(certificates, name);
}

function files(name: string): CredentialFiles {
  return { cert: pem(`${name}.crt`), key: pem(`${name}.key`), ca: pem("ca.crt") };
}

function tls(more = ""): string {
  return `listen:
  - address: 127.0.0.1:0
    certificate: ${pem("server.crt")}
    key: ${pem("server.key")}
    clients: ${pem("ca.crt")}
${more}`;
}

function client(uri: string, shown: CredentialFiles): Client {
  return connect(uri, {}, shown);
}

function status(port: number, headers: Record<string, string | string[]>): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: "127.0.0.1", port, path: "/secrets", headers, agent: false });
    outgoing
      .on("response", (incoming) => resolve(incoming.resume().statusCode ?? 0))
      .on("error", reject)
      .end();
  });
}

function callers(): string[] {
  const lines = auditLines(readFileSync(join(folder, "state/audit.jsonl"), "utf8"));
  return lines.map(({ caller, op, outcome }) => `${caller} ${op} ${outcome ?? ""}`.trim());
}

describe("a bearer token", () => {
  test("opens the whole API, and is named in the audit trail", async ({ expect }) => {
    const { port } = await serve(plain());
    const ci = client(`http://127.0.0.1:${port}`, { token: join(folder, "token") });
    await ci.putSecret("db", "create", Buffer.from("v"));
    expect(await ci.secrets()).toMatchObject([{ name: "db", size: 1 }]);
    expect(callers()).toEqual(["token:ci secret.create", "token:ci secret.create ok"]);
    expect(readFileSync(join(folder, "state/audit.jsonl"), "utf8")).not.toContain(token);
  });

  test("that is missing, wrong or there twice opens nothing, and leaves a line", async ({ expect }) => {
    const { port } = await serve(plain());
    expect(await status(port, {})).toBe(401);
    expect(await status(port, { authorization: `Bearer ${token.slice(1)}x` })).toBe(401);
    expect(await status(port, { authorization: `Basic ${token}` })).toBe(401);
    expect(await status(port, { authorization: [`Bearer ${token}`, `Bearer ${token}`] })).toBe(400);
    expect(await status(port, { authorization: `Bearer ${token}` })).toBe(200);
    expect(callers()).toEqual(Array(3).fill("stranger:127.0.0.1 admin.enter unauthenticated"));
  });

  test("that is wrong again and again is put off, and shuts nobody else out", async ({ expect }) => {
    const { port } = await serve(plain());
    const seen: number[] = [];
    for (let at = 0; at < 14; at++) seen.push(await status(port, { authorization: "Bearer wrong" }));
    expect(seen).toEqual([...Array<number>(10).fill(401), ...Array<number>(4).fill(429)]);
    expect(callers()).toHaveLength(10);
    expect(await status(port, { authorization: `Bearer ${token}` })).toBe(200);
  });

  test("in a file that others can read keeps daemon and client from starting", async ({ expect }) => {
    const { port } = await serve(plain());
    chmodSync(join(folder, "token"), 0o644);
    const ci = client(`http://127.0.0.1:${port}`, { token: join(folder, "token") });
    await expect(ci.secrets()).rejects.toMatchObject({ code: "forbidden" });
    await daemon.close();
    await expect(serve(plain())).rejects.toMatchObject({ code: "forbidden" });
  });
});

test("a daemon is not stopped over a network, whose pids are not ours", async ({ expect }) => {
  const { port } = await serve(plain());
  const env = { HATCHWAY_TOKEN_FILE: join(folder, "token") };
  const ran = await runCli(["-c", `http://127.0.0.1:${port}`, "stop"], { env });
  expect(ran).toMatchObject({ code: 9, stderr: expect.stringContaining("on its own machine") as string });
});

describe("over TLS", () => {
  test("a client certificate is who asks", async ({ expect }) => {
    const { port } = await serve(tls());
    await client(`https://localhost:${port}`, files("client")).putSecret("db", "create", Buffer.from("v"));
    expect(callers()[0]).toMatch(/^certificate:ci-1,serial=[0-9A-F]+ secret\.create$/);
  });

  test("a certificate of another authority, or none, is not let in", async ({ expect }) => {
    const { port } = await serve(tls());
    const uri = `https://127.0.0.1:${port}`;
    for (const shown of [files("foreign"), { ca: join(certificates, "ca.crt") }]) {
      await expect(client(uri, shown).secrets()).rejects.toMatchObject({ code: "unavailable" });
    }
    await expect(client(uri, files("odd")).secrets()).rejects.toMatchObject({ code: "forbidden" });
    expect(callers()).toEqual([]);
  });

  test("a token does as well where there are tokens, and a foreign certificate does not", async ({ expect }) => {
    const { port } = await serve(tls(`tokens: {ci: ${folder}/token}\n`));
    const uri = `https://127.0.0.1:${port}`;
    const ca = join(certificates, "ca.crt");
    expect(await client(uri, { ca, token: join(folder, "token") }).secrets()).toEqual([]);
    await expect(client(uri, files("foreign")).secrets()).rejects.toMatchObject({ code: "unauthenticated" });
  });

  test("a daemon whose authority the client does not know is not told anything", async ({ expect }) => {
    const { port } = await serve(tls(`tokens: {ci: ${folder}/token}\n`));
    const wrong = { ca: join(certificates, "other.crt"), token: join(folder, "token") };
    await expect(client(`https://127.0.0.1:${port}`, wrong).secrets()).rejects.toMatchObject({ code: "unavailable" });
  });
});

const REFUSED = [
  ['listen: ["127.0.0.1:0"]\n', "would let nobody in"],
  ['listen: ["0.0.0.0:0"]\ntokens: {ci: /t}\n', "is not of the loopback: it needs a certificate and key"],
  ['listen: ["localhost:80"]\ntokens: {ci: /t}\n', "is not an address and a port"],
  ['listen: ["127.0.0.1:65536"]\ntokens: {ci: /t}\n', "is not an address and a port"],
  ["listen: [{address: '127.0.0.1:0', key: /k}]\n", "is of TLS, which needs a certificate"],
  ["listen: [{address: '127.0.0.1:0', clients: /c}]\n", "is of TLS, which needs a certificate"],
  ["listen: [{address: '127.0.0.1:0', certificate: /c, revoked: /r}]\n", "is of client certificates, which need"],
  ["tokens: {ci: token}\n", "is not an absolute path"],
] as const;

test("an address that would let nobody in, or listeners in between, is refused", async ({ expect }) => {
  for (const [config, problem] of REFUSED) await expect(serve(config)).rejects.toThrow(problem);
});
