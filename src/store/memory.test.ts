import { describe, it } from "vitest";
import { MAX_INNER_OPERATIONS, type WatchEvent } from "#store";
import { bytesOf, change } from "#test/kit/store-calls";
import { describeStore } from "#test/kit/store-conformance";
import { type Fault, Faults, openMemoryStore } from "./memory.ts";

describeStore("memory store", async () => ({ store: openMemoryStore(), operations: MAX_INNER_OPERATIONS }));

describe("faults", () => {
  const cases: { fault: Fault; outcome: string; done: boolean }[] = [
    { fault: "conflict", outcome: "conflict", done: false },
    { fault: "unknown-applied", outcome: "unknown", done: true },
    { fault: "unknown-lost", outcome: "unknown", done: false },
    { fault: "unavailable", outcome: "unavailable", done: false },
    { fault: "reset", outcome: "ok", done: true },
  ];
  for (const { fault, outcome, done } of cases) {
    it(`${fault} befalls one commit`, async ({ expect }) => {
      const faults = new Faults();
      const store = openMemoryStore({ faults });
      const events: WatchEvent[] = [];
      store.watch(0, (event) => events.push(event));
      faults.next(fault);
      const first = change({ opId: "first", put: [{ key: "a", bytes: bytesOf("1") }] });
      const result = await store.commit(first).then(
        (answer) => answer.outcome,
        (error: { code: string }) => error.code,
      );
      expect(result).toBe(outcome);
      expect(await store.committed("first")).toBe(done ? 1 : undefined);
      expect((await store.read(["a"])).rows[0]?.bytes.toString()).toBe(done ? "1" : undefined);
      expect(await store.commit(first)).toEqual({ outcome: "ok", revision: 1 });
      expect(events).toEqual([fault === "reset" ? { kind: "reset" } : { kind: "changes", revision: 1, keys: ["a"] }]);
      await store.close();
    });
  }
});
