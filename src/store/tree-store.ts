// A store that notices when somebody else has changed it. A tree over all rows (src/store/tree-node.ts) is kept in rows
// of its own, `!tree…`, and changed in the same commit as the rows. Its root is MACed, and kept in memory by the one
// process that owns the store: a row that is read is checked against it, and so is that a page of rows is whole.
//
// What it cannot see by itself is a store that was put back as a whole while nobody had it open. That is why the root
// says its revision, which whoever opens it compares with what is known elsewhere.
import type { KeyObject } from "node:crypto";
import { HatchwayError } from "#error";
import type { Change, CommitResult, Page, Row, Snapshot, Store, WatchEvent } from "#store";
import { checkChange, checkOpId } from "./change.ts";
import { Changes, type Reading } from "./tree-changes.ts";
import { type StoredRoot, TreeCommits } from "./tree-commits.ts";
import { decodeRoot, isOfTree, nodeKey, ROOT_KEY } from "./tree-root.ts";
import { countBefore, type Entry, entryAt, markOf, TAMPERED } from "./tree-node.ts";
import { emptyTop, Tree } from "./tree.ts";

/** Rows whose ways through the tree are looked for together. */
const TOGETHER = 256;
/** Sorts after every row of the tree, and before every other. */
const AFTER_TREE = `${ROOT_KEY}:~`;

/**
 * Opens the tree over `store`, which it then owns. `beside`: the few keys that
 * nearly every change writes; always the same ones of one store. Undefined for a store with rows and without a tree:
 * whether there never was one the caller must know; `buildTree` makes it. Throws "corrupt".
 *
 * Besides what any store throws, reading throws "corrupt" for a row that is not what was last written, and for a page
 * that lacks one. Keys begin with a character after "!".
 */
export async function openTreeStore(
  store: Store,
  key: KeyObject,
  beside: Iterable<string> = [],
): Promise<Store | undefined> {
  const epoch = await store.epoch();
  const { revision, rows } = await store.read([ROOT_KEY]);
  const [row] = rows;
  if (!row && revision > 0) return undefined;
  const root = row && decodeRoot(key, epoch, row.bytes, beside);
  if (root && root.revision !== revision) {
    const problem = `the store says that its revision is ${revision}, and its tree that it is ${root.revision}`;
    throw new HatchwayError("corrupt", problem, { hint: TAMPERED });
  }
  const tree = new Tree(root ?? emptyTop(beside), async (ids) => {
    const found = await store.read(ids.map(nodeKey));
    return found.rows.map((node) => node?.bytes);
  });
  return new TreeStore(store, key, epoch, tree, { revision, version: row?.version ?? 0, bytes: row?.bytes });
}

class TreeStore implements Store {
  readonly #store: Store;
  readonly #tree: Tree;
  readonly #changes = new Changes();
  readonly #commits: TreeCommits;
  #closing: Promise<void> | undefined;

  constructor(store: Store, key: KeyObject, epoch: Buffer, tree: Tree, root: StoredRoot) {
    this.#store = store;
    this.#tree = tree;
    this.#commits = new TreeCommits({ store, key, epoch, tree, changes: this.#changes, root });
  }

  async epoch(): Promise<Buffer> {
    this.#mustBeOpen();
    return this.#store.epoch();
  }

  async revision(): Promise<number> {
    this.#mustBeOpen();
    return this.#store.revision();
  }

  async read(keys: readonly string[]): Promise<Snapshot> {
    this.#mustBeOpen();
    const reading = this.#changes.begin();
    try {
      const snapshot = await this.#store.read(keys);
      for (let from = 0; from < keys.length; from += TOGETHER) {
        const some = keys.slice(from, from + TOGETHER);
        if (!this.#tree.has(some)) await this.#tree.reach(some);
        for (const [index, key] of some.entries()) this.#check(key, snapshot.rows[from + index], reading);
      }
      return snapshot;
    } finally {
      this.#changes.end(reading);
    }
  }

  async list(prefix: string, { after, limit }: { after?: string; limit: number }): Promise<Page> {
    this.#mustBeOpen();
    if (isOfTree(prefix)) throw new HatchwayError("invalid", `"${prefix}" begins no key here`);
    const reading = this.#changes.begin();
    try {
      const hasTree = ROOT_KEY.startsWith(prefix) && (after === undefined || after < AFTER_TREE);
      const from = hasTree ? AFTER_TREE : after;
      const page = await this.#store.list(prefix, { limit, ...(from !== undefined && { after: from }) });
      const first = from === undefined || from < prefix ? prefix : `${from} `;
      const last = page.more ? (page.rows.at(-1)?.key ?? first) : `${prefix}\u007f`;
      await this.#checkPage(page.rows, first, last, reading);
      return page;
    } finally {
      this.#changes.end(reading);
    }
  }

  async commit(change: Change): Promise<CommitResult> {
    this.#mustBeOpen();
    checkChange(change);
    for (const { key } of [...change.expect, ...change.put, ...change.delete]) checkKey(key);
    return this.#commits.commit(change);
  }

  async committed(opId: string): Promise<number | undefined> {
    this.#mustBeOpen();
    checkOpId(opId);
    return this.#commits.committed(opId);
  }

  watch(from: number, listener: (event: WatchEvent) => void): () => void {
    this.#mustBeOpen();
    return this.#store.watch(from, (event) => {
      if (event.kind === "reset") return listener(event);
      listener({ ...event, keys: event.keys.filter((key) => !isOfTree(key)) });
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#commits.idle().then(() => this.#store.close());
    return this.#closing;
  }

  #check(key: string, row: Row | undefined, reading: Reading): void {
    const now = this.#tree.entry(key);
    if (fits(row, now)) return;
    for (const before of this.#changes.before(key, reading)) if (fits(row, before)) return;
    throw tampered(key, row, now);
  }

  /** Checks all that is there from the key `first` to `last`: that it is what was last written, and that nothing lacks. */
  async #checkPage(all: readonly Row[], first: string, last: string, reading: Reading): Promise<void> {
    for (const key of this.#tree.top.beside.keys()) {
      if (key < first || key > last) continue;
      this.#check(
        key,
        all.find((row) => row.key === key),
        reading,
      );
    }
    const rows = all.filter(({ key }) => !this.#tree.top.beside.has(key));
    let at = 0;
    for (let from: string | undefined = first; from !== undefined && from <= last;) {
      const { leaf, end } = await this.#tree.stretch(from, last);
      let index = countBefore(leaf.keys, from, false);
      for (;;) {
        const next = rows[at];
        const row = next && (end === undefined || next.key < end) ? next : undefined;
        const said = leaf.keys[index];
        const key = said !== undefined && said <= last ? said : undefined;
        if (row === undefined && key === undefined) break;
        if (row && row.key === key && fits(row, entryAt(leaf, index))) {
          at += 1;
          index += 1;
        } else if (row && (key === undefined || row.key <= key)) {
          this.#check(row.key, row, reading);
          at += 1;
          if (row.key === key) index += 1;
        } else {
          if (key !== undefined) this.#check(key, undefined, reading);
          index += 1;
        }
      }
      from = end;
    }
  }

  #mustBeOpen(): void {
    if (this.#closing) throw new HatchwayError("unavailable", "the store is closed");
  }
}

function checkKey(key: string): void {
  if (key > "!~") return;
  throw new HatchwayError("invalid", `"${key}" is not a key here: it should begin with a character after "!"`);
}

function fits(row: Row | undefined, entry: Entry | undefined): boolean {
  if (!row || !entry) return !row && !entry;
  return row.version === entry.version && markOf(row.bytes) === entry.mark;
}

function tampered(key: string, row: Row | undefined, entry: Entry | undefined): HatchwayError {
  return new HatchwayError("corrupt", `row "${key}" ${problemOf(row, entry)}`, { hint: TAMPERED });
}

function problemOf(row: Row | undefined, entry: Entry | undefined): string {
  if (!row) return "is missing from the store";
  if (!entry) return "is in the store and was never written, or was removed";
  if (row.version < entry.version) return "is older than what was last written";
  return "is not what was last written";
}
