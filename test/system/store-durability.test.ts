// What a store on a disk keeps when its process is killed, and does when its disk hangs or fails.

import { chown, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, it } from "vitest";
import type { HatchwayError } from "#error";
import { openSqliteStore } from "#store/sqlite";
import type { ChildLine } from "#test/kit/store-child";
import { MAX_INNER_OPERATIONS } from "#store";
import { describeStore } from "#test/kit/store-conformance";
import { StoreProcess } from "#test/kit/store-process";
import { inject } from "#test/kit/strace";

/** How often the writer is killed. */
const ROUNDS = Number(process.env["HATCHWAY_KILL_ROUNDS"] ?? 20);
const DEADLINE_MS = 300;

describeStore("sqlite store that keeps no rows in memory", async () => {
  const directory = await mkdtemp(join(tmpdir(), "hatchway-store-"));
  const store = await openSqliteStore(join(directory, "store.db"), { create: true, cacheSize: 0 });
  return { store, operations: MAX_INNER_OPERATIONS, remove: () => rm(directory, { recursive: true }) };
});

describe("a store's process", () => {
  let directory: string;
  let path: string;
  const started: StoreProcess[] = [];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "hatchway-store-"));
    path = join(directory, "store.db");
  });
  afterEach(async () => {
    for (const child of started.splice(0)) await child.kill();
    await rm(directory, { recursive: true });
  });
  const start = async (deadlineMs = DEADLINE_MS): Promise<StoreProcess> => {
    const child = await StoreProcess.start(path, deadlineMs);
    started.push(child);
    return child;
  };
  const refusal = async (): Promise<HatchwayError> =>
    openSqliteStore(path, { create: false }).then(
      async (store) => {
        await store.close();
        throw new Error("the store was opened");
      },
      (error: HatchwayError) => error,
    );

  it(
    `keeps what it acknowledged, ${ROUNDS} times killed`,
    async ({ expect }) => {
      for (let round = 0; round < ROUNDS; round += 1) {
        const child = await start(2_000);
        await sleep(Math.random() * 150);
        const acknowledged = okCounts(await child.kill()).at(-1) ?? 0;
        const store = await openSqliteStore(path, { create: false });
        const { revision, rows } = await store.read(["a", "b", "c"]);
        const counts = new Set(rows.map((row) => row?.bytes.toString()));
        expect(counts.size, "a change was applied in part").toBe(1);
        expect(revision).toBeGreaterThanOrEqual(acknowledged);
        expect(counts).toEqual(new Set([revision === 0 ? undefined : `${revision}`]));
        if (revision > 0) expect(await store.committed(`count-${revision}`)).toBe(revision);
        await store.close();
        expect(quickCheck(path)).toBe("ok");
      }
    },
    10_000 + ROUNDS * 4_000,
  );

  it("is the store's only owner as long as it lives", async ({ expect }) => {
    const child = await start();
    const message = `store "${path}" is open in another process (pid ${child.pid})`;
    expect(await refusal()).toMatchObject({ code: "locked", message });
    await child.kill();
    const store = await openSqliteStore(path, { create: false });
    await store.close();
  });

  it("is refused a directory or a file of another user", async ({ expect }) => {
    const child = await start();
    await child.stop();
    await chown(path, 65_534, 65_534);
    expect(await refusal()).toMatchObject({
      code: "forbidden",
      message: expect.stringContaining("uid 65534") as string,
    });
    await chown(directory, 65_534, 65_534);
    expect((await refusal()).message).toContain(`directory "${directory}" belongs to uid 65534`);
  });

  it("reads on while its disk hangs, and answers its commits", async ({ expect }) => {
    const child = await start();
    const release = await inject(child.pid, "fsync,fdatasync:delay_enter=1500000");
    const from = child.lines.length;
    const hanging = await child.until(
      (lines) => outcomes(lines).includes("unknown") && outcomes(lines).includes("unavailable"),
      from,
    );
    const unknown = hanging.findIndex((line) => line.did === "commit" && line.outcome === "unknown");
    const since = hanging.slice(unknown);
    expect(okCounts(since), "a commit was acknowledged before it was on the disk").toEqual([]);
    expect(new Set(since.flatMap((line) => (line.did === "read" ? [line.outcome] : [])))).toEqual(new Set(["ok"]));
    await release();
    await child.until((lines) => okCounts(lines).length > 0, child.lines.length);
    const all = await child.stop();
    expect(all.filter(({ did }) => did === "fatal")).toEqual([]);
    const end = all.at(-1);
    if (end?.did === "end") console.log(`longest stall of the event loop: ${end.longestStallMs} ms`);
  });

  it("says so when its disk lets it not be closed", async ({ expect }) => {
    const child = await start();
    await inject(child.pid, "fsync,fdatasync:delay_enter=1000000");
    await child.until((lines) => outcomes(lines).includes("unknown"), child.lines.length);
    expect((await child.stop()).at(-1)).toMatchObject({ did: "end", outcome: "unavailable" });
  });

  it("ends with its disk: a failed sync is fatal", async ({ expect }) => {
    const child = await start();
    await child.until((lines) => okCounts(lines).length > 0);
    const release = await inject(child.pid, "fsync,fdatasync:error=EIO");
    await child.until((lines) => lines.some(({ did }) => did === "fatal"));
    expect(outcomes(child.lines)).toContain("unknown");
    await release();
    const from = child.lines.length;
    await child.until((lines) => lines.filter(({ did }) => did === "read").length > 2 && lines.length > 6, from);
    const after = child.lines.slice(from + 1);
    expect(new Set(after.map((line) => ("outcome" in line ? line.outcome : line.did)))).toEqual(
      new Set(["unavailable"]),
    );
    const all = await child.stop();
    expect(all.at(-1)).toMatchObject({ did: "end", outcome: "ok" });
    expect(all.filter(({ did }) => did === "fatal")).toEqual([
      { did: "fatal", code: "unavailable", message: `disk of store "${path}" failed` },
    ]);
    const acknowledged = okCounts(all).at(-1) ?? 0;
    const store = await openSqliteStore(path, { create: false });
    expect(await store.revision()).toBeGreaterThanOrEqual(acknowledged);
    await store.close();
  });

  it("refuses commits while its disk is full, and takes them again", async ({ expect }) => {
    const child = await start();
    await child.until((lines) => okCounts(lines).length > 0);
    const release = await inject(child.pid, "pwrite64:error=ENOSPC");
    const from = child.lines.length;
    const full = await child.until(
      (lines) => outcomes(lines).filter((each) => each === "unavailable").length > 2,
      from,
    );
    expect(full.some((line) => line.did === "read" && line.outcome === "ok")).toBe(true);
    await release();
    await child.until((lines) => okCounts(lines).length > 2, child.lines.length);
    const all = await child.stop();
    expect(all.filter(({ did }) => did === "fatal")).toEqual([]);
    const store = await openSqliteStore(path, { create: false });
    expect(await store.revision()).toBe(okCounts(all).length);
    await store.close();
  });
});

/** Outcomes of the commits. */
function outcomes(lines: readonly ChildLine[]): string[] {
  return lines.flatMap((line) => (line.did === "commit" ? [line.outcome] : []));
}

/** Revisions of the commits that were acknowledged. */
function okCounts(lines: readonly ChildLine[]): number[] {
  return lines.flatMap((line) => (line.did === "commit" && line.outcome === "ok" ? [line.revision ?? 0] : []));
}

function quickCheck(path: string): unknown {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    return database.prepare("PRAGMA quick_check").get()?.["quick_check"];
  } finally {
    database.close();
  }
}
