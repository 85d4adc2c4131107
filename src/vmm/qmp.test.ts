import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { afterEach, test } from "vitest";
import { QmpClient, type QmpEvent } from "./qmp.ts";

// Recorded from QEMU 7.2.
const greeting =
  '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2"}, "capabilities": ["oob"]}}\r\n';
const shutdown =
  '{"timestamp": {"seconds": 1795348702, "microseconds": 657324}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}\r\n';

type Command = { execute: string; id: number };

const folder = mkdtempSync(join(tmpdir(), "qmp."));
const path = join(folder, "qmp.sock");
let server: Server | undefined;
let peers: Socket[] = [];
afterEach(async () => {
  for (const peer of peers) peer.destroy();
  peers = [];
  await new Promise((done) => server?.close(done));
  rmSync(path, { force: true });
});

/** Speaks as QEMU does: greets, grants the capabilities, then answers as `answer` says. */
async function speak(answer: (command: Command, socket: Socket) => void, hello: string = greeting): Promise<void> {
  server = createServer((socket) => {
    peers.push(socket);
    socket.on("error", () => socket.destroy());
    socket.write(hello);
    socket.on("data", (chunk) => {
      for (const line of chunk.toString().trim().split("\n")) {
        const command = JSON.parse(line) as Command;
        if (command.execute === "qmp_capabilities") socket.write(`{"return": {}, "id": ${command.id}}\r\n`);
        else answer(command, socket);
      }
    });
  });
  const listening = server;
  await new Promise<void>((done) => listening.listen(path, done));
}

test("answers belong to their commands, in whatever order and pieces they come", async ({ expect }) => {
  const held: Command[] = [];
  await speak((command, socket) => {
    held.push(command);
    if (held.length < 2) return;
    const text = held
      .toReversed()
      .map(({ execute, id }) => `{"return": {"was": "${execute}"}, "id": ${id}}\r\n`)
      .join("");
    socket.write(text.slice(0, 15));
    setTimeout(() => socket.write(text.slice(15)), 5);
  });
  const qmp = await QmpClient.connect(path, process.pid);
  expect(await Promise.all([qmp.execute("query-status"), qmp.execute("query-name")])).toEqual([
    { was: "query-status" },
    { was: "query-name" },
  ]);
  qmp.close();
});

test("events come with what they carry, between and before answers", async ({ expect }) => {
  await speak(({ id }, socket) => socket.write(`${shutdown}{"event": "RESET"}\r\n{"return": {}, "id": ${id}}\r\n`));
  const qmp = await QmpClient.connect(path, process.pid);
  const events: QmpEvent[] = [];
  qmp.on("event", (event) => events.push(event));
  await qmp.execute("quit");
  expect(events).toEqual([
    { name: "SHUTDOWN", members: { guest: true, reason: "guest-shutdown" } },
    { name: "RESET", members: {} },
  ]);
  qmp.close();
});

test("a refused command says QEMU's reason", async ({ expect }) => {
  await speak(({ id }, socket) => {
    socket.write(`{"id": ${id}, "error": {"class": "GenericError", "desc": "Node 'x' not found"}}\r\n`);
  });
  const qmp = await QmpClient.connect(path, process.pid);
  await expect(qmp.execute("eject")).rejects.toThrow("QEMU refused \"eject\": Node 'x' not found");
  qmp.close();
});

test("silence ends: no greeting, no answer", async ({ expect }) => {
  await speak(() => undefined, "");
  await expect(QmpClient.connect(path, process.pid, 30)).rejects.toMatchObject({ code: "timeout" });
  await new Promise((done) => server?.close(done));
  await speak(() => undefined);
  const qmp = await QmpClient.connect(path, process.pid);
  await expect(qmp.execute("query-status", undefined, 30)).rejects.toMatchObject({ code: "timeout" });
  qmp.close();
});

test("what is not QMP ends the connection and every wait", async ({ expect }) => {
  for (const noise of ["nonsense\r\n", "[1]\r\n", "null\r\n", `"${"x".repeat(1024 * 1024)}`]) {
    await speak((_, socket) => socket.write(noise));
    const qmp = await QmpClient.connect(path, process.pid);
    const closed = new Promise((done) => {
      qmp.once("close", done);
    });
    await expect(qmp.execute("query-status")).rejects.toMatchObject({ code: "unavailable" });
    expect(String(await closed)).toContain("QEMU sent a line");
    await expect(qmp.execute("query-status")).rejects.toThrow("QEMU sent a line");
    await new Promise((done) => server?.close(done));
  }
});

test("the end of QEMU ends every wait", async ({ expect }) => {
  await speak((_, socket) => socket.destroy());
  const qmp = await QmpClient.connect(path, process.pid);
  await expect(qmp.execute("quit")).rejects.toMatchObject({ code: "unavailable" });
  await expect(QmpClient.connect(`${path}.none`, process.pid)).rejects.toMatchObject({ code: "unavailable" });
});

test("the monitor of another process is refused, and told nothing", async ({ expect }) => {
  const told: string[] = [];
  await speak(({ execute }) => told.push(execute));
  await expect(QmpClient.connect(path, process.pid + 1)).rejects.toMatchObject({ code: "forbidden" });
  expect(told).toEqual([]);
});
