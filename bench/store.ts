// How fast the sqlite store is, against what the disk under it can do at all: `node bench/store.ts [DIRECTORY]`.
// Prints a table and writes bench/results/store.json. Figures of one run compare; those of two runs hardly do.

import { fdatasyncSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSqliteStore } from "#store/sqlite";

/** Bytes of a row: a small secret, sealed. */
const ROW_SIZE = 512;
const LISTED = 10_000;

interface Result {
  what: string;
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
}

/** Runs `act` `count` times by `clients` at once, each waiting for its own answer. */
async function measure(
  what: string,
  { clients, count }: { clients: number; count: number },
  act: (turn: number) => unknown,
): Promise<Result> {
  const times: number[] = [];
  let turn = 0;
  const client = async (): Promise<void> => {
    while (turn < count) {
      const mine = turn;
      turn += 1;
      const start = performance.now();
      await act(mine);
      times.push(performance.now() - start);
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: clients }, client));
  const perSecond = (count / (performance.now() - start)) * 1_000;
  times.sort((a, b) => a - b);
  const at = (share: number): number => times[Math.floor(times.length * share)] ?? 0;
  return { what, perSecond, p50Ms: at(0.5), p99Ms: at(0.99) };
}

function show(results: readonly Result[]): void {
  const rows = results.map(({ what, perSecond, p50Ms, p99Ms }) => [
    what,
    perSecond < 1_000 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString("en"),
    p50Ms.toFixed(3),
    p99Ms.toFixed(3),
  ]);
  const table = [["", "per second", "p50 ms", "p99 ms"], ...rows];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  for (const [what = "", ...figures] of table) {
    const cells = figures.map((figure, index) => figure.padStart(widths[index + 1] ?? 0));
    console.log([what.padEnd(widths[0] ?? 0), ...cells].join("  "));
  }
}

const directory = await mkdtemp(join(process.argv[2] ?? tmpdir(), "hatchway-bench-"));
const path = join(directory, "store", "store.db");
const bytes = Buffer.alloc(ROW_SIZE, 7);
const results: Result[] = [];
try {
  const floor = openSync(join(directory, "floor"), "a", 0o600);
  results.push(
    await measure("append + fdatasync (floor)", { clients: 1, count: 2_000 }, () => {
      writeSync(floor, bytes);
      fdatasyncSync(floor);
    }),
  );

  let store = await openSqliteStore(path, { create: true });
  let commits = 0;
  const commit = (key: string): Promise<unknown> => {
    commits += 1;
    return store.commit({ opId: `op-${commits}`, expect: [], put: [{ key, bytes }], delete: [] });
  };
  for (const clients of [1, 16]) {
    const what = `durable commit of a new row, ${clients} client${clients === 1 ? "" : "s"}`;
    results.push(await measure(what, { clients, count: 2_000 * clients }, (turn) => commit(`new/${clients}/${turn}`)));
  }
  const keys = Array.from({ length: LISTED }, (_, index) => `row/${String(index).padStart(5, "0")}`);
  await Promise.all(keys.map(commit));
  const anyKey = (turn: number): string => keys[(turn * 7_919) % LISTED] ?? "";
  const read = (turn: number): Promise<unknown> => store.read([anyKey(turn)]);
  results.push(await measure("read of a row in memory, 1 client", { clients: 1, count: 200_000 }, read));

  await store.close();
  store = await openSqliteStore(path, { create: false, cacheSize: 0 });
  results.push(await measure("read of a row from sqlite, 1 client", { clients: 1, count: 20_000 }, read));
  results.push(await measure("read of a row from sqlite, 16 clients", { clients: 16, count: 50_000 }, read));
  results.push(
    await measure(`list of ${LISTED.toLocaleString("en")} rows`, { clients: 1, count: 50 }, async () => {
      const { rows } = await store.list("row/", { limit: LISTED });
      if (rows.length !== LISTED) throw new Error(`listed ${rows.length} rows`);
    }),
  );
  await store.close();
} finally {
  await rm(directory, { recursive: true });
}
show(results);
const out = join(import.meta.dirname, "results");
mkdirSync(out, { recursive: true });
writeFileSync(join(out, "store.json"), `${JSON.stringify({ rowSize: ROW_SIZE, results }, undefined, 2)}\n`);
