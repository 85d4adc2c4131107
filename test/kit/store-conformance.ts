// What every store does, whatever it is made of. `describeStore` runs the same tests over each.

import { afterEach, describe, it } from "vitest";
import { type Change, MAX_KEY_SIZE, MAX_OPERATIONS, MAX_ROW_SIZE, type Store, type WatchEvent } from "#store";
import { bytesOf, change, codeOf, type Open, put, settled, shown } from "./store-calls.ts";
import { describeModel } from "./store-model.ts";
import { describeList, describeReads, describeWatch } from "./store-reading.ts";

export interface StoreUnderTest {
  store: Store;
  /** Closes the store and opens it again; absent for one that does not outlive its process. */
  reopen?: () => Promise<Store>;
  /** Operations that a change may have: MAX_OPERATIONS, if it does not say. */
  operations?: number;
  /** Removes what it left behind, once it is closed. */
  remove?: () => Promise<void>;
}

export function describeStore(name: string, make: () => Promise<StoreUnderTest>): void {
  describe(name, () => {
    const made: StoreUnderTest[] = [];
    const open = async (): Promise<StoreUnderTest> => {
      const underTest = await make();
      made.push(underTest);
      return underTest;
    };
    const store = async (): Promise<Store> => (await open()).store;
    afterEach(async () => {
      for (const underTest of made.splice(0)) {
        await underTest.store.close();
        await underTest.remove?.();
      }
    });
    describeCommit(store);
    describeLimits(open);
    describeOperations(store);
    describeList(store);
    describeReads(store);
    describeWatch(store);
    describeLife(open);
    describeModel(store);
  });
}

function describeCommit(open: Open): void {
  it("begins empty at revision 0 with an epoch of 16 bytes", async ({ expect }) => {
    const store = await open();
    expect(await store.revision()).toBe(0);
    expect((await store.epoch()).length).toBe(16);
    expect(await store.read(["a"])).toEqual({ revision: 0, rows: [undefined] });
  });

  it("counts a row's versions and the store's revisions", async ({ expect }) => {
    const store = await open();
    expect(await put(store, "a", "1", 1)).toEqual({ outcome: "ok", revision: 1 });
    expect(await put(store, "a", "2", 2)).toEqual({ outcome: "ok", revision: 2 });
    expect(await put(store, "a", "3")).toEqual({ outcome: "ok", revision: 3 });
    expect(await put(store, "b", "")).toEqual({ outcome: "ok", revision: 4 });
    expect(shown((await store.read(["b", "a", "c", "a"])).rows)).toEqual(["b@1=", "a@3=3", "-", "a@3=3"]);
    expect(await store.revision()).toBe(4);
  });

  it("refuses a put, an expectation and a delete of another version", async ({ expect }) => {
    const store = await open();
    await put(store, "a", "1");
    const conflict = { outcome: "conflict", key: "a" };
    expect(await put(store, "a", "x", 1)).toEqual(conflict);
    expect(await put(store, "a", "x", 3)).toEqual(conflict);
    expect(await put(store, "none", "x", 2)).toEqual({ outcome: "conflict", key: "none" });
    expect(await store.commit(change({ expect: [{ key: "a", version: 0 }] }))).toEqual(conflict);
    expect(await store.commit(change({ expect: [{ key: "a", version: 2 }] }))).toEqual(conflict);
    expect(await store.commit(change({ delete: [{ key: "a", version: 2 }] }))).toEqual(conflict);
    expect(await store.revision()).toBe(1);
    expect((await store.commit(change({ expect: [{ key: "a", version: 1 }] }))).outcome).toBe("ok");
    expect((await store.commit(change({ expect: [{ key: "none", version: 0 }] }))).outcome).toBe("ok");
  });

  it("does all of a change or nothing", async ({ expect }) => {
    const store = await open();
    await put(store, "kept", "1");
    const puts = [
      { key: "new", version: 1, bytes: bytesOf("x") },
      { key: "kept", version: 1, bytes: bytesOf("x") },
    ];
    expect(await store.commit(change({ put: puts }))).toEqual({ outcome: "conflict", key: "kept" });
    const both = change({ put: puts.slice(0, 1), delete: [{ key: "kept", version: 2 }] });
    expect(await store.commit(both)).toEqual({ outcome: "conflict", key: "kept" });
    expect(shown((await store.read(["new", "kept"])).rows)).toEqual(["-", "kept@1=1"]);
  });

  it("looks at a change's expectations before it writes", async ({ expect }) => {
    const store = await open();
    const both = { expect: [{ key: "a", version: 0 }], put: [{ key: "a", bytes: bytesOf("1") }] };
    expect((await store.commit(change(both))).outcome).toBe("ok");
    expect((await store.commit(change(both))).outcome).toBe("conflict");
  });

  it("deletes, and begins anew with version 1", async ({ expect }) => {
    const store = await open();
    await put(store, "a", "1");
    await put(store, "a", "2");
    expect(await store.commit(change({ delete: [{ key: "a", version: 2 }] }))).toEqual({ outcome: "ok", revision: 3 });
    expect(shown((await store.read(["a"])).rows)).toEqual(["-"]);
    expect((await put(store, "a", "3", 3)).outcome).toBe("conflict");
    expect((await put(store, "a", "3", 1)).outcome).toBe("ok");
    expect(shown((await store.read(["a"])).rows)).toEqual(["a@1=3"]);
  });

  it("copies the bytes before commit returns", async ({ expect }) => {
    const store = await open();
    const bytes = bytesOf("precious");
    const committed = store.commit(change({ put: [{ key: "a", bytes }] }));
    bytes.fill(0);
    await committed;
    expect(shown((await store.read(["a"])).rows)).toEqual(["a@1=precious"]);
  });

  it("applies changes given at once one after the other", async ({ expect }) => {
    const store = await open();
    const results = await Promise.all(Array.from({ length: 50 }, (_, index) => put(store, "a", `${index}`, 1)));
    expect(results.filter(({ outcome }) => outcome === "ok")).toEqual([{ outcome: "ok", revision: 1 }]);
    expect(results.filter(({ outcome }) => outcome === "conflict").length).toBe(49);
    const others = await Promise.all(Array.from({ length: 50 }, (_, index) => put(store, `b${index}`, "")));
    expect(others).toEqual(others.map((_, index) => ({ outcome: "ok", revision: index + 2 })));
  });
}

function describeLimits(open: () => Promise<StoreUnderTest>): void {
  it("takes a change at its limits", async ({ expect }) => {
    const { store, operations = MAX_OPERATIONS } = await open();
    const puts = Array.from({ length: operations }, (_, index) => ({ key: `${index}`, bytes: bytesOf("") }));
    expect((await store.commit(change({ put: puts }))).outcome).toBe("ok");
    const key = "~".repeat(MAX_KEY_SIZE);
    expect((await store.commit(change({ put: [{ key, bytes: Buffer.alloc(MAX_ROW_SIZE, 7) }] }))).outcome).toBe("ok");
    const [row] = (await store.read([key])).rows;
    expect(row?.bytes.equals(Buffer.alloc(MAX_ROW_SIZE, 7))).toBe(true);
    expect((await store.commit(change({ opId: "A-z".repeat(21) }))).outcome).toBe("ok");
  });

  it("refuses a change beyond its limits", async ({ expect }) => {
    const { store, operations = MAX_OPERATIONS } = await open();
    const bytes = bytesOf("");
    const wrong: Partial<Change>[] = [
      { put: Array.from({ length: operations + 1 }, (_, index) => ({ key: `${index}`, bytes })) },
      {
        expect: Array.from({ length: operations }, () => ({ key: "a", version: 0 })),
        put: [{ key: "a", bytes }],
      },
      { put: [{ key: "a", bytes: Buffer.alloc(MAX_ROW_SIZE + 1) }] },
      ...["", "~".repeat(MAX_KEY_SIZE + 1), "ä", "a\n", "a\0", "a\x7f"].map((key) => ({ put: [{ key, bytes }] })),
      ...[0, -1, 1.5, NaN].map((version) => ({ put: [{ key: "a", version, bytes }] })),
      { expect: [{ key: "a", version: -1 }] },
      { delete: [{ key: "a", version: 0 }] },
      { put: [0, 1].map(() => ({ key: "a", bytes })) },
      { put: [{ key: "a", bytes }], delete: [{ key: "a", version: 1 }] },
      ...["", "a b", "a".repeat(65), "ä"].map((opId) => ({ opId })),
    ];
    for (const parts of wrong) expect(await codeOf(store.commit(change(parts)))).toBe("invalid");
    expect(await codeOf(store.read([""]))).toBe("invalid");
    expect(await codeOf(store.committed("a b"))).toBe("invalid");
    for (const limit of [0, -1, 1.5, 10_001, NaN]) expect(await codeOf(store.list("", { limit }))).toBe("invalid");
    expect(await codeOf(store.list("ä", { limit: 1 }))).toBe("invalid");
    expect(await store.revision()).toBe(0);
  });
}

function describeOperations(open: Open): void {
  it("applies an operation once, however often it is asked to", async ({ expect }) => {
    const store = await open();
    const once = change({ opId: "once", put: [{ key: "a", bytes: bytesOf("1") }] });
    expect(await store.commit(once)).toEqual({ outcome: "ok", revision: 1 });
    await put(store, "a", "2");
    expect(await store.commit(once)).toEqual({ outcome: "ok", revision: 1 });
    expect(shown((await store.read(["a"])).rows)).toEqual(["a@2=2"]);
    const twice = change({ opId: "twice", put: [{ key: "b", version: 1, bytes: bytesOf("1") }] });
    expect(await Promise.all([store.commit(twice), store.commit(twice)])).toEqual([
      { outcome: "ok", revision: 3 },
      { outcome: "ok", revision: 3 },
    ]);
    expect(await store.revision()).toBe(3);
  });

  it("says at which revision an operation was applied", async ({ expect }) => {
    const store = await open();
    await store.commit(change({ opId: "done" }));
    await store.commit(change({ opId: "conflicting", expect: [{ key: "a", version: 1 }] }));
    expect(await store.committed("done")).toBe(1);
    expect(await store.committed("conflicting")).toBe(undefined);
    expect(await store.committed("never")).toBe(undefined);
  });

  it("takes an operation that conflicted before", async ({ expect }) => {
    const store = await open();
    const later = change({ opId: "later", expect: [{ key: "a", version: 1 }] });
    expect((await store.commit(later)).outcome).toBe("conflict");
    await put(store, "a", "1");
    expect(await store.commit(later)).toEqual({ outcome: "ok", revision: 2 });
  });

  it("remembers the newest 10,000 operations", async ({ expect }) => {
    const store = await open();
    for (let from = 0; from < 10_500; from += 500) {
      const opIds = Array.from({ length: 500 }, (_, index) => `op-${from + index}`);
      await Promise.all(opIds.map((opId) => store.commit(change({ opId }))));
    }
    expect(await store.committed("op-10499")).toBe(10_500);
    expect(await store.committed("op-500")).toBe(501);
  });
}

function describeLife(open: () => Promise<StoreUnderTest>): void {
  it("finishes what was asked and refuses what comes after close", async ({ expect }) => {
    const { store } = await open();
    const events: WatchEvent[] = [];
    store.watch(0, (event) => events.push(event));
    const last = put(store, "a", "1");
    const closed = store.close();
    expect(await codeOf(store.read(["a"]))).toBe("unavailable");
    expect(await last).toEqual({ outcome: "ok", revision: 1 });
    await closed;
    await store.close();
    const calls = [
      store.epoch(),
      store.revision(),
      store.list("", { limit: 1 }),
      store.committed("a"),
      put(store, "b", ""),
    ];
    for (const call of calls) expect(await codeOf(call)).toBe("unavailable");
    expect(() => store.watch(0, () => undefined)).toThrow("closed");
  });

  it("is the same when it is opened again, if it outlives its process", async ({ expect }) => {
    const underTest = await open();
    const { store, reopen } = underTest;
    const epoch = await store.epoch();
    await store.commit(change({ opId: "first", put: [{ key: "a", bytes: bytesOf("1") }] }));
    await put(store, "b", "2");
    if (reopen === undefined) return;
    const again = await reopen();
    underTest.store = again;
    expect(await again.epoch()).toEqual(epoch);
    expect(await again.revision()).toBe(2);
    expect(await again.committed("first")).toBe(1);
    expect(shown((await again.list("", { limit: 9 })).rows)).toEqual(["a@1=1", "b@1=2"]);
    const events: WatchEvent[] = [];
    again.watch(1, (event) => events.push(event));
    expect(await put(again, "a", "2", 2)).toEqual({ outcome: "ok", revision: 3 });
    await settled();
    expect(events).toEqual([{ kind: "reset" }, { kind: "changes", revision: 3, keys: ["a"] }]);
  });
}
