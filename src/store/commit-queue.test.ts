import { describe, it } from "vitest";
import { HatchwayError } from "#error";
import { CommitQueue } from "./commit-queue.ts";
import type { WireChange } from "./sqlite-messages.ts";

function changeOf(opId: string, size = 0): WireChange {
  return { opId, expect: [], put: [{ key: "a", version: undefined, bytes: new Uint8Array(size) }], delete: [] };
}

/** A queue whose batches are begun and never answered by themselves. */
function made(deadlineMs: number): { queue: CommitQueue; batches: string[][] } {
  const batches: string[][] = [];
  const queue = new CommitQueue(deadlineMs, (changes) => batches.push(changes.map(({ opId }) => opId)));
  return { queue, batches };
}

function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "resolved",
    (error: HatchwayError) => error.code,
  );
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("commit queue", () => {
  it("begins together what came in while a batch ran", async ({ expect }) => {
    const { queue, batches } = made(10_000);
    const first = queue.push(changeOf("1"));
    await turn();
    const others = ["2", "3"].map((opId) => queue.push(changeOf(opId)));
    await turn();
    expect(batches).toEqual([["1"]]);
    queue.answered([{ outcome: "conflict", key: "a" }], () => undefined);
    expect(await first).toEqual({ outcome: "conflict", key: "a" });
    await turn();
    expect(batches).toEqual([["1"]]);
    queue.ready();
    await turn();
    expect(batches).toEqual([["1"], ["2", "3"]]);
    queue.answered(
      others.map(() => ({ outcome: "repeated", revision: 7 })),
      () => undefined,
    );
    expect(await Promise.all(others)).toEqual(others.map(() => ({ outcome: "ok", revision: 7 })));
  });

  it("past the deadline refuses what waits and does not know of what has begun", async ({ expect }) => {
    const { queue, batches } = made(20);
    const begun = queue.push(changeOf("begun"));
    await turn();
    const waiting = codeOf(queue.push(changeOf("waiting")));
    expect(await begun).toEqual({ outcome: "unknown" });
    expect(await waiting).toBe("unavailable");
    expect([queue.isUnderWay("begun"), queue.isUnderWay("waiting")]).toEqual([true, false]);
    queue.answered([{ outcome: "conflict", key: "a" }], () => undefined);
    queue.ready();
    await queue.idle();
    expect(queue.isUnderWay("begun")).toBe(false);
    expect(batches).toEqual([["begun"]]);
  });

  it("when the writer is lost does not know of what has begun and refuses the rest", async ({ expect }) => {
    const { queue } = made(10_000);
    const begun = queue.push(changeOf("begun"));
    await turn();
    const waiting = codeOf(queue.push(changeOf("waiting")));
    queue.fail(new HatchwayError("unavailable", "lost"));
    expect(await begun).toEqual({ outcome: "unknown" });
    expect(await waiting).toBe("unavailable");
    await queue.idle();
  });

  it("bounds the bytes of a batch and of what waits", async ({ expect }) => {
    const { queue, batches } = made(10_000);
    const mebibyte = 1_048_576;
    const all = Array.from({ length: 20 }, (_, index) => queue.push(changeOf(`${index}`, 3 * mebibyte)));
    await turn();
    expect(batches).toEqual([["0", "1"]]);
    all.push(queue.push(changeOf("20", 9 * mebibyte)));
    expect(() => queue.push(changeOf("21", 2 * mebibyte))).toThrow("store is behind");
    queue.fail(new HatchwayError("unavailable", "lost"));
    await Promise.allSettled(all);
  });
});
