import { createSecretKey, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Store } from "#store";
import { describeStore } from "#test/kit/store-conformance";
import { openMemoryStore } from "./memory.ts";
import { openSqliteStore } from "./sqlite.ts";
import { openTreeStore } from "./tree-store.ts";

const key = createSecretKey(randomBytes(32));

async function treeOver(store: Store): Promise<Store> {
  const tree = await openTreeStore(store, key);
  if (!tree) throw new Error("the store has no tree");
  return tree;
}

describeStore("tree over a memory store", async () => ({ store: await treeOver(openMemoryStore()) }));

describeStore("tree over a sqlite store", async () => {
  const directory = await mkdtemp(join(tmpdir(), "hatchway-tree-"));
  const open = async (): Promise<Store> =>
    treeOver(await openSqliteStore(join(directory, "store.db"), { create: true }));
  const store = await open();
  return {
    store,
    reopen: async () => {
      await store.close();
      return open();
    },
    remove: () => rm(directory, { recursive: true }),
  };
});
