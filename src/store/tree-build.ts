// Builds the tree over a store that has none yet: one that an earlier version made. Nodes are filled in the order of the
// keys and written as they become full, so that memory is bounded whatever the store holds. The root comes last: a build
// that was cut short is begun again.
import { type KeyObject, randomUUID } from "node:crypto";
import { HatchwayError } from "#error";
import { type Change, MAX_INNER_OPERATIONS, type Store } from "#store";
import { encodeRoot, isOfTree, nodeKey, ROOT_KEY } from "./tree-root.ts";
import { between, digestOf, emptyLeaf, encodeNode, type Entry, type Leaf, markOf, type TreeNode } from "./tree-node.ts";
import { emptyTop, TOP } from "./tree.ts";

/** Entries of a leaf and children of an inner node, so that most can grow before they are split. */
const FILLED = 24;
const PAGE = 1_000;

/** A node that is not full yet, and the bound that its parent will have of it. */
interface Open {
  node: TreeNode;
  bound: string;
}

/** Makes the tree over all rows that are in `store` now, of which the caller is the only owner. */
export async function buildTree(store: Store, key: KeyObject, beside: Iterable<string> = []): Promise<void> {
  const builder = new Builder(store, key, beside);
  await builder.clear();
  let after: string | undefined;
  for (;;) {
    const page = await store.list("", { limit: PAGE, ...(after !== undefined && { after }) });
    for (const row of page.rows) {
      if (!isOfTree(row.key)) await builder.add(row.key, row.version, markOf(row.bytes));
    }
    after = page.rows.at(-1)?.key;
    if (!page.more || after === undefined) break;
  }
  await builder.finish();
}

class Builder {
  readonly #store: Store;
  readonly #key: KeyObject;
  readonly #beside: Map<string, Entry | undefined>;
  /** The leaf first, then the node over it, and so on. */
  readonly #open: Open[] = [{ node: emptyLeaf(1), bound: "" }];
  #next = 2;
  #put: { key: string; bytes: Buffer }[] = [];

  constructor(store: Store, key: KeyObject, beside: Iterable<string>) {
    this.#store = store;
    this.#key = key;
    this.#beside = new Map(emptyTop(beside).beside);
  }

  /** Takes away what an earlier build left. */
  async clear(): Promise<void> {
    for (;;) {
      const { rows } = await this.#store.list(ROOT_KEY, { limit: MAX_INNER_OPERATIONS });
      if (rows.length === 0) return;
      await this.#commit({ put: [], delete: rows });
    }
  }

  async add(key: string, version: number, mark: bigint): Promise<void> {
    if (this.#beside.has(key)) {
      this.#beside.set(key, { version, mark });
      return;
    }
    let leaf = this.#open[0]?.node as Leaf;
    if (leaf.keys.length >= FILLED) {
      const bound = between(leaf.keys.at(-1) ?? "", key);
      await this.#close(0);
      leaf = emptyLeaf(this.#newId());
      this.#open[0] = { node: leaf, bound };
    }
    leaf.keys.push(key);
    leaf.versions.push(version);
    leaf.marks.push(mark);
  }

  async finish(): Promise<void> {
    for (let level = 0; level + 1 < this.#open.length; level += 1) await this.#close(level);
    const top = { ...(this.#open.at(-1)?.node ?? emptyLeaf(TOP)), id: TOP };
    await this.#write();
    const root = { revision: (await this.#store.revision()) + 1, top, next: this.#next, beside: this.#beside };
    const bytes = encodeRoot(this.#key, await this.#store.epoch(), root);
    await this.#commit({ put: [{ key: ROOT_KEY, version: 1, bytes }], delete: [] });
  }

  /** Writes the open node of `level` and hangs it under the one above. */
  async #close(level: number): Promise<void> {
    const open = this.#open[level];
    if (!open) return;
    const { id } = open.node;
    const bytes = encodeNode(open.node);
    this.#put.push({ key: nodeKey(id), bytes });
    if (this.#put.length >= MAX_INNER_OPERATIONS) await this.#write();
    const above = this.#open[level + 1];
    const digest = digestOf(id, bytes);
    if (above?.node.kind === "inner" && above.node.children.length < FILLED) {
      above.node.bounds.push(open.bound);
      above.node.children.push(id);
      above.node.digests.push(digest);
      return;
    }
    if (above) await this.#close(level + 1);
    const node: TreeNode = { kind: "inner", id: this.#newId(), bounds: [], children: [id], digests: [digest] };
    this.#open[level + 1] = { node, bound: open.bound };
  }

  #newId(): number {
    this.#next += 1;
    return this.#next - 1;
  }

  async #write(): Promise<void> {
    if (this.#put.length > 0) await this.#commit({ put: this.#put, delete: [] });
    this.#put = [];
  }

  async #commit(change: Pick<Change, "put" | "delete">): Promise<void> {
    const result = await this.#store.commit({ opId: randomUUID(), expect: [], ...change });
    if (result.outcome === "ok") return;
    throw new HatchwayError("unavailable", "the store did not take the tree over its rows", { hint: "try again" });
  }
}
