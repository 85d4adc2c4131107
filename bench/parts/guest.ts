// A guest reads the raw value of one secret: what the API costs above a fixed reply, with the audit's line written
// before the value leaves, and with it synced before.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BenchDaemon, claimed } from "#bench/daemon";
import type { Contest, Contestant, Part, Scale } from "#bench/measure";
import { compile, load, processorTime, rateOf, request, Server } from "#bench/programs";

const SIZE = 64;
const NODE_REPLY = `
  const body = Buffer.alloc(${SIZE}, "x");
  require("node:http").createServer((request, response) => {
    response.writeHead(200, { "content-type": "application/octet-stream", "content-length": body.length });
    response.end(body);
  }).listen(process.argv[1], () => console.log("ready"));`;

export const guest: Part = {
  name: "guest",
  about: `a guest reads a secret of ${SIZE} bytes over kept-alive connections`,
  async open({ size }: Scale): Promise<Contest> {
    await using opened = new AsyncDisposableStack();
    const folder = mkdtempSync(join(tmpdir(), "hwb-"));
    opened.defer(() => rmSync(folder, { recursive: true }));
    const program = compile("load", folder);
    const sockets = { c: join(folder, "c.sock"), node: join(folder, "node.sock") };
    const c = opened.use(await Server.start(compile("reply", folder), [sockets.c, `${SIZE}`]));
    const node = opened.use(await Server.start(process.execPath, ["-e", NODE_REPLY, sockets.node]));
    const written = opened.use(await prepared(""));
    const durable = opened.use(await prepared("audit: durable\n"));

    const plain = request("GET /v1/secrets/db");
    const read = claimed("GET /v1/secrets/db");
    /** `pid` is the server's: what it takes of the processors for a request depends least on what else they do. */
    const contestant = (
      what: string,
      { pid, to, input }: { pid: number; to: readonly string[]; input: string },
      connections: number,
      count: number,
    ): Contestant => ({
      what,
      turn: async () => {
        const requests = Math.max(connections, Math.round(count * size));
        const before = processorTime(pid);
        const figures = rateOf(await load(program, { to, connections, requests, input }));
        return { ...figures, "cpu µs": (processorTime(pid) - before) / requests };
      },
    });
    const fixed = { pid: c.child.pid ?? 0, to: [sockets.c], input: plain };
    const http = { pid: node.child.pid ?? 0, to: [sockets.node], input: plain };
    const ours = { pid: written.pid, to: [written.guest("a")], input: read };
    const synced = { pid: durable.pid, to: [durable.guest("a")], input: read };
    const floors = ["C epoll, fixed reply, 1", "node:http, fixed reply, 1"];
    const many = ["node:http, fixed reply, 16"];
    const contestants: Contestant[] = [
      contestant("C epoll, fixed reply, 1", fixed, 1, 20_000),
      contestant("node:http, fixed reply, 1", http, 1, 20_000),
      {
        ...contestant("guest read, 1 connection", ours, 1, 20_000),
        against: floors,
        bars: { "per second": 15_000, "p99 ms": 0.5 },
      },
      contestant("node:http, fixed reply, 16", http, 16, 20_000),
      { ...contestant("guest read, 16 connections", ours, 16, 20_000), against: many },
      {
        ...contestant("guest read, audit durable, 1", synced, 1, 2_000),
        bars: { "per second": 2_000 },
      },
      {
        // A VM has 32 connections at most.
        ...contestant(
          "guest read, audit durable, 64",
          { ...synced, to: [durable.guest("a"), durable.guest("b")] },
          64,
          20_000,
        ),
        bars: { "per second": 12_000 },
      },
    ];
    const whileOpen = opened.move();
    return { contestants, [Symbol.asyncDispose]: () => whileOpen.disposeAsync() };
  },
};

async function prepared(config: string): Promise<BenchDaemon> {
  const daemon = await BenchDaemon.open(config);
  await daemon.secret("db", "x".repeat(SIZE));
  for (const vm of ["a", "b"]) await daemon.vm(vm, ["db"]);
  return daemon;
}
