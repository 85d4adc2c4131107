// VMs over the admin API of a whole daemon, and the control socket of their runner. None of them runs here.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "vitest";
import type { StatusBody } from "#api";
import type { VmBody } from "#api-vm";
import { Daemon } from "#daemon/daemon";
import { call, type Reply } from "#test/kit/http";

const RUNNER = { name: "nobody", uid: 65_534 };

let folder: string;
let daemon: Daemon;
let socket: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hatchway-vms-"));
  daemon = await start();
});

afterEach(async () => {
  await daemon.close();
  await rm(folder, { recursive: true });
});

async function start(): Promise<Daemon> {
  const runtime = join(folder, "run");
  socket = join(runtime, "hatchway.sock");
  const places = { state: join(folder, "state"), config: join(folder, "config", "config.yaml"), runtime, socket };
  return Daemon.start({ mode: "session", places, echo: false, onFatal: (error) => daemon.log.report(error) });
}

function json(method: string, target: string, body?: unknown): Promise<Reply> {
  return call(socket, method, target, body === undefined ? undefined : JSON.stringify(body));
}

async function create(body: object): Promise<VmBody> {
  const reply = await json("POST", "/vms", body);
  if (reply.status !== 201) throw new Error(reply.text);
  return JSON.parse(reply.text) as VmBody;
}

describe("a VM", () => {
  test("is created with its secrets, shown, listed and removed", async ({ expect }) => {
    await call(socket, "PUT", "/secrets/a/value", "value of a");
    await call(socket, "PUT", "/secrets/b/value", "value of b");
    const vm = await create({ name: "web-1", runner: RUNNER.name, secrets: ["b", { name: "a", path: "conf/a" }] });
    expect(vm).toMatchObject({ name: "web-1", state: "defined", secrets: ["a", "b"], convergence: { in_sync: false } });
    expect(vm.runner).toMatchObject(RUNNER);
    expect((await stat(vm.control_socket)).isSocket()).toBe(true);
    expect(JSON.parse((await json("GET", "/vms/web-1")).text)).toMatchObject({ id: vm.id, secrets: ["a", "b"] });
    expect(JSON.parse((await json("GET", "/vms")).text)).toHaveLength(1);
    const status = JSON.parse((await json("GET", "/status")).text) as StatusBody;
    expect(status).toMatchObject({ mode: "session", secrets: 2, vms: [{ name: "web-1", in_sync: false }] });
    expect((await json("DELETE", "/vms/web-1")).status).toBe(204);
    expect((await json("GET", "/vms/web-1")).status).toBe(404);
    await expect(stat(vm.control_socket)).rejects.toThrow("ENOENT");
  });

  test("gets nothing where no secrets are asked for, and is not made when one is unknown", async ({ expect }) => {
    await call(socket, "PUT", "/secrets/a/value", "value of a");
    expect((await create({ name: "bare" })).secrets).toEqual([]);
    expect((await create({ name: "none", secrets: [] })).secrets).toEqual([]);
    expect((await json("POST", "/vms", { name: "web-1", secrets: ["a", "missing"] })).status).toBe(404);
    expect((await json("GET", "/vms/web-1")).status).toBe(404);
    expect((await json("POST", "/vms", { name: "bare" })).status).toBe(409);
  });

  test("is waited for no longer than was said", async ({ expect }) => {
    await create({ name: "web-1" });
    const reply = await json("GET", "/vms/web-1?wait=agent&timeout=20ms");
    expect(reply.status).toBe(408);
    expect(JSON.parse(reply.text)).toMatchObject({ code: "timeout" });
  });

  test("has a console, empty as long as it has not run", async ({ expect }) => {
    await create({ name: "web-1" });
    const reply = await json("GET", "/vms/web-1/logs?lines=5");
    expect([reply.status, reply.text]).toEqual([200, ""]);
    expect((await json("GET", "/vms/web-2/logs")).status).toBe(404);
  });

  test("shows its console as it is written, until the client goes", async ({ expect }) => {
    const { control_socket } = await create({ name: "web-1" });
    const guest = connect(control_socket.replace("control.sock", "console.sock"));
    guest.write("before\n");
    const client = connect(socket);
    client.write("GET /vms/web-1/logs?lines=5&follow=true HTTP/1.1\r\nhost: x\r\n\r\n");
    let seen = "";
    for await (const chunk of client) {
      seen += (chunk as Buffer).toString();
      if (seen.includes("text/plain") && !seen.includes("after")) guest.write("\u001b[2Jafter\n");
      if (seen.includes("after\n")) break;
    }
    expect(seen).toContain("after\n");
    expect(seen).not.toContain("\u001b");
    guest.destroy();
  });
});

describe("the control socket of a VM", () => {
  let control: string;

  beforeEach(async () => {
    await call(socket, "PUT", "/secrets/a/value?permissions=0440&uid=7", "value of a");
    await call(socket, "PUT", "/secrets/b/value?env=B_TOKEN", "value of b");
    await call(socket, "PUT", "/secrets/c/value", "value of c");
    const vm = await create({ name: "web-1", runner: RUNNER.name, secrets: ["a", "b"] });
    control = vm.control_socket;
  });

  test("gives the bundle as a tar that tar reads", async ({ expect }) => {
    const head = await call(control, "HEAD", "/bundle");
    const { status, headers, text } = await call(control, "GET", "/bundle");
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe("application/x-tar");
    expect(head.headers["content-length"]).toBe(headers["content-length"]);
    expect(text).not.toContain("value of c");
    const tar = spawn("tar", ["-tvf", "-", "--numeric-owner"], { stdio: ["pipe", "pipe", "inherit"] });
    tar.stdin.end(text);
    let listing = "";
    for await (const chunk of tar.stdout) listing += (chunk as Buffer).toString();
    expect(listing).toMatch(/-r--r----- 7\/0 +10 .* a\n/);
    expect(listing).toMatch(/ 10 .* \.hatchway\/values\/B_TOKEN\n/);
  });

  test("shows that VM and its channels, and nothing else", async ({ expect }) => {
    expect(JSON.parse((await call(control, "GET", "/status")).text)).toMatchObject({
      name: "web-1",
      secrets: ["a", "b"],
    });
    const { channels } = JSON.parse((await call(control, "GET", "/arguments")).text) as Pick<VmBody, "channels">;
    expect(channels.map(({ kind }) => kind)).toEqual(["vsock", "virtio-serial", "ssh"]);
    expect((await call(control, "GET", "/secrets")).status).toBe(404);
    expect((await call(control, "GET", "/vms/web-1")).status).toBe(404);
    expect((await call(control, "POST", "/bundle")).status).toBe(405);
  });
});

test("the daemon's log is told, and followed as it grows", async ({ expect }) => {
  expect((await json("GET", "/logs?lines=50")).text).toContain("serves session");
  const client = connect(socket);
  client.write("GET /logs?lines=1&follow=true HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(client, "data");
  daemon.log.write("something new");
  let seen = "";
  for await (const chunk of client) {
    seen += (chunk as Buffer).toString();
    if (seen.includes("something new")) break;
  }
  expect(seen).toContain("something new\n");
});
