// A process that has a store open and uses it, for tests that kill it or take its disk away.
//
//   node test/kit/store-child.ts PATH DEADLINE_MS   writes until it is killed or its stdin ends
//
// Each change writes the rows a, b and c with the same count. One JSON object a line on stdout says what happened.

import { setTimeout as sleep } from "node:timers/promises";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { type HatchwayError, toHatchwayError } from "#error";
import type { Store } from "#store";
import { openSqliteStore } from "#store/sqlite";
import { bytesOf } from "#test/kit/store-calls";

/** What the process says. */
export type ChildLine =
  | { did: "open"; revision: number }
  | { did: "commit"; count: number; outcome: string; revision?: number }
  | { did: "read"; outcome: string; count?: number }
  | { did: "fatal"; code: string; message: string }
  | { did: "end"; outcome: string; longestStallMs: number };

const KEYS = ["a", "b", "c"];

function say(line: ChildLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function write(store: Store, first: number, stopped: AbortSignal): Promise<void> {
  for (let count = first; !stopped.aborted; count += 1) {
    const put = KEYS.map((key) => ({ key, bytes: bytesOf(`${count}`) }));
    const result = await store
      .commit({ opId: `count-${count}`, expect: [], put, delete: [] })
      .catch((error: HatchwayError) => ({ outcome: error.code }));
    say({ did: "commit", count, ...result });
    // A store that has failed answers at once.
    if (result.outcome === "unavailable") await sleep(20);
  }
}

/** The store keeps no rows in memory here: each read goes to the reader's thread. */
async function read(store: Store, stopped: AbortSignal): Promise<void> {
  while (!stopped.aborted) {
    const line = await store.read(KEYS).then(
      ({ rows }) => ({ outcome: "ok", count: Number(rows[0]?.bytes.toString() ?? 0) }),
      (error: unknown) => ({ outcome: toHatchwayError(error).code }),
    );
    say({ did: "read", ...line });
    await sleep(20);
  }
}

async function main(path: string, deadlineMs: number): Promise<void> {
  const stopping = new AbortController();
  const onFatal = ({ code, message }: HatchwayError): void => say({ did: "fatal", code, message });
  const store = await openSqliteStore(path, { create: true, queueDeadlineMs: deadlineMs, cacheSize: 0, onFatal });
  const revision = await store.revision();
  say({ did: "open", revision });
  process.stdin.resume().once("end", () => stopping.abort());
  const stalls = monitorEventLoopDelay({ resolution: 5 });
  stalls.enable();
  await Promise.all([write(store, revision + 1, stopping.signal), read(store, stopping.signal)]);
  const outcome = await store.close().then(
    () => "ok",
    (error: unknown) => toHatchwayError(error).code,
  );
  say({ did: "end", outcome, longestStallMs: Math.round(stalls.max / 1e6) });
}

const [, , path, deadlineMs] = process.argv;
if (path === undefined) throw new Error("usage: store-child PATH DEADLINE_MS");
await main(path, Number(deadlineMs));
