import { it } from "vitest";
import { type CommitResult, MAX_ROW_SIZE, type Store, type WatchEvent } from "#store";
import { bytesOf, change, type Open, put, settled, shown } from "./store-calls.ts";

export function describeList(open: Open): void {
  const keys = ["a", "a ", "a/1", "a/2", "aa", "a~", "b", "b/", "~"];
  const filled = async (): Promise<Store> => {
    const store = await open();
    await store.commit(change({ put: keys.map((key) => ({ key, bytes: bytesOf(key) })) }));
    return store;
  };
  it("lists in the order of the keys' bytes, by prefix", async ({ expect }) => {
    const store = await filled();
    expect(await listed(store, "", 100)).toEqual([keys, false]);
    expect(await listed(store, "a", 100)).toEqual([keys.slice(0, 6), false]);
    expect(await listed(store, "a/", 100)).toEqual([["a/1", "a/2"], false]);
    expect(await listed(store, "b", 100)).toEqual([["b", "b/"], false]);
    expect(await listed(store, "~", 100)).toEqual([["~"], false]);
    expect(await listed(store, "c", 100)).toEqual([[], false]);
  });

  it("says whether there are more than the limit", async ({ expect }) => {
    const store = await filled();
    expect(await listed(store, "a/", 1)).toEqual([["a/1"], true]);
    expect(await listed(store, "a/", 2)).toEqual([["a/1", "a/2"], false]);
    expect(await listed(store, "", keys.length - 1)).toEqual([keys.slice(0, -1), true]);
    expect(await listed(await open(), "", 1)).toEqual([[], false]);
  });

  it("goes on after a key, which need not be there", async ({ expect }) => {
    const store = await filled();
    expect(await listed(store, "a", 2, "a/1")).toEqual([["a/2", "aa"], true]);
    expect(await listed(store, "a", 9, "a/15")).toEqual([["a/2", "aa", "a~"], false]);
    expect(await listed(store, "a/", 9, "A")).toEqual([["a/1", "a/2"], false]);
    expect(await listed(store, "a/", 9, "b")).toEqual([[], false]);
    expect(await listed(store, "a", 9, "a~")).toEqual([[], false]);
  });

  it("ends a page before it has more than 16 MiB", async ({ expect }) => {
    const store = await open();
    const large = Buffer.alloc(MAX_ROW_SIZE, 1);
    for (let index = 0; index < 9; index += 1) {
      await store.commit(change({ put: [{ key: `${index}`, bytes: large }] }));
    }
    expect(await listed(store, "", 100)).toEqual([["0", "1", "2", "3", "4", "5", "6", "7"], true]);
    expect(await listed(store, "", 100, "7")).toEqual([["8"], false]);
  });
}

async function listed(store: Store, prefix: string, limit: number, after?: string): Promise<[string[], boolean]> {
  const page = await store.list(prefix, { limit, ...(after !== undefined && { after }) });
  return [page.rows.map(({ key }) => key), page.more];
}

export function describeReads(open: Open): void {
  it("reads rows as of one revision while others are written", async ({ expect }) => {
    const store = await open();
    const write = (count: number): Promise<CommitResult> =>
      store.commit(change({ put: ["x", "y", "z"].map((key) => ({ key, bytes: bytesOf(`${count}`) })) }));
    await write(1);
    const writes = (async () => {
      for (let count = 2; count <= 100; count += 1) await write(count);
    })();
    let newest = 0;
    while (newest < 100) {
      const { revision, rows } = await store.read(["x", "y", "z"]);
      expect(shown(rows)).toEqual(["x", "y", "z"].map((key) => `${key}@${revision}=${revision}`));
      const page = await store.list("", { limit: 10 });
      expect(shown(page.rows)).toEqual(["x", "y", "z"].map((key) => `${key}@${page.revision}=${page.revision}`));
      expect(revision).toBeGreaterThanOrEqual(newest);
      expect(page.revision).toBeGreaterThanOrEqual(revision);
      newest = page.revision;
    }
    await writes;
  });

  it("gives bytes that are the caller's to keep and to wipe", async ({ expect }) => {
    const store = await open();
    await put(store, "a", "kept");
    for (let round = 0; round < 3; round += 1) {
      const { rows } = await store.read(["a"]);
      expect(shown(rows)).toEqual(["a@1=kept"]);
      rows[0]?.bytes.fill(0);
      const page = await store.list("", { limit: 1 });
      expect(shown(page.rows)).toEqual(["a@1=kept"]);
      page.rows[0]?.bytes.fill(0);
    }
  });

  it("reads what was acknowledged", async ({ expect }) => {
    const store = await open();
    for (let version = 1; version <= 20; version += 1) {
      await put(store, "a", `${version}`);
      expect(shown((await store.read(["a"])).rows)).toEqual([`a@${version}=${version}`]);
      expect(shown((await store.list("a", { limit: 1 })).rows)).toEqual([`a@${version}=${version}`]);
    }
  });
}

export function describeWatch(open: Open): void {
  it("tells the keys of each commit in order, never before watch has returned", async ({ expect }) => {
    const store = await open();
    await put(store, "a", "1");
    const events: WatchEvent[] = [];
    store.watch(0, (event) => events.push(event));
    expect(events).toEqual([]);
    await store.commit(change({ put: [{ key: "b", bytes: bytesOf("") }], delete: [{ key: "a", version: 1 }] }));
    await store.commit(change({ expect: [{ key: "a", version: 5 }] }));
    await store.commit(change({}));
    await settled();
    expect(events).toEqual([
      { kind: "changes", revision: 1, keys: ["a"] },
      { kind: "changes", revision: 2, keys: ["b", "a"] },
      { kind: "changes", revision: 3, keys: [] },
    ]);
  });

  it("begins after the revision that it is given", async ({ expect }) => {
    const store = await open();
    await put(store, "a", "1");
    await put(store, "b", "1");
    const events: WatchEvent[] = [];
    store.watch(1, (event) => events.push(event));
    store.watch(2, (event) => events.push(event));
    await settled();
    expect(events).toEqual([{ kind: "changes", revision: 2, keys: ["b"] }]);
  });

  it("resets a watcher from a revision that it does not know", async ({ expect }) => {
    const store = await open();
    const events: WatchEvent[] = [];
    store.watch(7, (event) => events.push(event));
    await settled();
    await put(store, "a", "1");
    await settled();
    expect(events).toEqual([{ kind: "reset" }, { kind: "changes", revision: 1, keys: ["a"] }]);
  });

  it("ends within a callback", async ({ expect }) => {
    const store = await open();
    const events: WatchEvent[] = [];
    const others: WatchEvent[] = [];
    const end = store.watch(0, (event) => {
      events.push(event);
      end();
    });
    store.watch(0, (event) => others.push(event));
    await Promise.all([put(store, "a", "1"), put(store, "b", "1")]);
    await settled();
    end();
    expect(events.length).toBe(1);
    expect(others.length).toBe(2);
  });
}
