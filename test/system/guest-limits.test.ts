// What one VM can take up, and who can reach its sockets at all.
import { spawn } from "node:child_process";
import { chmodSync, readdirSync } from "node:fs";
import { chmod } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, onTestFinished, test } from "vitest";
import { isErrno } from "#host/files";
import { KEY } from "#test/kit/channel-conformance";
import { RUNNER_A, RUNNER_B, STRANGER, TestDaemon } from "#test/kit/daemon";
import { ended } from "#test/kit/guest-namespace";
import { GuestConnection } from "#test/kit/guest-connection";

const authorization = `Hatchway ${KEY}`;

let daemon: TestDaemon;
let vsock: string;
let other: string;

beforeEach(async () => {
  daemon = await TestDaemon.open();
  onTestFinished(() => daemon[Symbol.asyncDispose]());
  await daemon.secret("db", "the password");
  await daemon.secret("large", Buffer.alloc(1_048_576, "x"));
  await daemon.vm("a", RUNNER_A, "db", "large");
  await daemon.vm("b", RUNNER_B, "db");
  vsock = join(daemon.directory("a"), "vsock_5107");
  other = join(daemon.directory("b"), "vsock_5107");
  for (const socket of [vsock, other]) {
    const connection = await open(socket);
    const claim = await connection.ask("POST /v1/claim", {}, JSON.stringify({ key: KEY }));
    if (claim?.status !== 200) throw new Error(`the claim was answered ${claim?.status}`);
    connection.close();
  }
});

async function open(socket: string = vsock): Promise<GuestConnection> {
  const connection = await GuestConnection.open(socket);
  onTestFinished(() => connection.close());
  return connection;
}

/** As `open`, while the kernel's queue of connections that are not accepted yet is full (EAGAIN, connect(2)). */
async function openPatiently(): Promise<GuestConnection> {
  for (;;) {
    try {
      return await open();
    } catch (error) {
      if (!isErrno(error, "EAGAIN")) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** Waits until this process, where both ends of every connection are, has at most `count` descriptors. */
async function atMost(count: number): Promise<void> {
  while (descriptors() > count) await new Promise((resolve) => setTimeout(resolve, 5));
}

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

/** `GET /v1/secrets/db` on another VM's socket. */
async function stillServes(socket: string): Promise<number | undefined> {
  const connection = await open(socket);
  const answer = await connection.ask("GET /v1/secrets/db", { authorization });
  connection.close();
  return answer?.status;
}

describe("one vm", () => {
  test("has 32 connections, and the 33rd is closed unread", async ({ expect }) => {
    const all = await Promise.all(Array.from({ length: 32 }, () => open()));
    const more = await open();
    more.send("GET /v1/manifest HTTP/1.1\r\n");
    expect(await more.closed()).toHaveLength(0);
    for (const connection of all) {
      expect((await connection.ask("GET /v1/secrets/db", { authorization }))?.status).toBe(200);
    }
    expect(await stillServes(other)).toBe(200);
    all[0]?.close();
    let again: number | undefined;
    while (again === undefined) again = await stillServes(vsock);
    expect(again).toBe(200);
  });

  test("that opens a thousand keeps 32, and takes nothing from another", async ({ expect }) => {
    const all: GuestConnection[] = [];
    while (all.length < 1_000) all.push(...(await Promise.all(Array.from({ length: 100 }, openPatiently))));
    const kept = (): number => all.filter((connection) => !connection.ended).length;
    while (kept() > 32) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await stillServes(other)).toBe(200);
    expect(kept()).toBe(32);
  });

  test("that leaves 2,000 requests unfinished is closed by its limits, and takes nothing from another", async ({
    expect,
  }) => {
    const steady = await open(other);
    const asked = async (): Promise<number | undefined> =>
      (await steady.ask("GET /v1/secrets/db", { authorization }))?.status;
    const all: GuestConnection[] = [];
    const refused: (number | undefined)[] = [];
    while (all.length < 2_000) {
      const some = await Promise.all(Array.from({ length: 100 }, openPatiently));
      for (const one of some) one.send("GET /v1/bundle?wait=60 HTTP/1.1\r\nhost: x\r\nx-more: ");
      all.push(...some);
      refused.push(await asked());
    }
    // Those that were let in are cut off for being slow, the others were closed unread.
    while (all.some(({ ended: over }) => !over)) refused.push(await asked());
    expect(new Set(refused)).toEqual(new Set([200]));
    expect(await stillServes(vsock)).toBe(200);
  });

  test("that is slow with a header or a body is cut off", async ({ expect }) => {
    const [nothing, header, body] = await Promise.all([open(), open(), open()]);
    header.send("GET /v1/manifest HTTP/1.1\r\nhost: x\r\n");
    body.send("POST /v1/claim HTTP/1.1\r\nhost: x\r\ncontent-length: 76\r\n\r\n{");
    const answers = await Promise.all([nothing.closed(), header.closed(), body.closed()]);
    expect(answers.map((answer) => answer.toString("latin1").split("\r\n")[0])).toEqual([
      expect.stringMatching(/^(?:|HTTP\/1.1 408 Request Timeout)$/),
      "HTTP/1.1 408 Request Timeout",
      "HTTP/1.1 408 Request Timeout",
    ]);
  });

  test("that goes away in the middle of a value leaves nothing behind", async ({ expect }) => {
    expect(await stillServes(vsock)).toBe(200);
    const before = descriptors();
    for (let count = 0; count < 100; count++) {
      const connection = await GuestConnection.open(vsock);
      connection.socket.pause();
      connection.send(`GET /v1/bundle HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\n\r\n`);
      await new Promise((resolve) => setTimeout(resolve, 1));
      connection.close();
    }
    await atMost(before);
    expect(await stillServes(vsock)).toBe(200);
    expect(await daemon.log()).not.toContain("internal");
  });

  test("that is removed has its connections ended and its sockets gone", async ({ expect }) => {
    const waiting = await open();
    const manifest = await waiting.ask("GET /v1/manifest", { authorization });
    const revision = manifest?.headers.get("etag")?.replaceAll('"', "") ?? "";
    const answer = waiting.ask(`GET /v1/bundle?have=${revision}&wait=60`, { authorization });
    await daemon.tell("DELETE", "/vms/a");
    expect((await answer)?.status ?? "closed").toBeOneOf([404, "closed"]);
    await expect(GuestConnection.open(vsock)).rejects.toMatchObject({ code: "ENOENT" });
    expect(await stillServes(other)).toBe(200);
  });
});

/** How a connection of another user ends: an errno, or what came before the end. */
async function connectAs(uid: number, socket: string): Promise<string> {
  const program = `
    const socket = require("node:net").connect(process.argv[1]);
    let got = "";
    socket.on("data", (bytes) => (got += bytes.toString("latin1").slice(0, 12)));
    socket.on("error", (error) => { console.log(error.code); process.exit(0); });
    socket.on("close", () => console.log("closed:" + got));
    socket.on("connect", () => socket.write("GET /status HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n"));`;
  const user = [`--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
  // Not spawnSync: the daemon is in this process.
  const { stdout, stderr } = await ended(
    spawn("setpriv", [...user, process.execPath, "-e", program, socket], { stdio: ["ignore", "pipe", "pipe"] }),
  );
  if (stderr !== "") throw new Error(stderr);
  return stdout.trim();
}

describe("another user of the host", () => {
  const sockets = ["control.sock", "vsock_5107", "serial.sock", "ssh.sock", "console.sock"];

  test("reaches none of a vm's sockets; its runner reaches his own, and no other's", async ({ expect }) => {
    for (const name of sockets) {
      const socket = join(daemon.directory("a"), name);
      expect(await connectAs(STRANGER, socket), name).toBe("EACCES");
      expect(await connectAs(RUNNER_B, socket), name).toBe("EACCES");
    }
    expect(await connectAs(RUNNER_A, join(daemon.directory("a"), "control.sock"))).toBe("closed:HTTP/1.1 200");
    expect(await connectAs(RUNNER_A, vsock)).toBe("closed:HTTP/1.1 401");
  });

  test("is refused by who he is, though every mode let him in", async ({ expect }) => {
    await chmod(daemon.directory("a"), 0o777);
    for (const name of ["control.sock", "vsock_5107", "serial.sock"]) {
      chmodSync(join(daemon.directory("a"), name), 0o666);
      const how = await connectAs(STRANGER, join(daemon.directory("a"), name));
      expect(["closed:", "ECONNRESET", "EPIPE"], name).toContain(how);
    }
    expect(await stillServes(vsock)).toBe(200);
  });
});
