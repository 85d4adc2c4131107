// The tree over all rows, in memory as far as it is used: its top, and the nodes used last. It is what the store will be
// once every change that was sent is done. A node comes from the store only if its digest is what its parent says, so
// that nothing in memory can be older than the top.
import { HatchwayError } from "#error";
import {
  countBefore,
  decodeNode,
  DIGEST_SIZE,
  digestOf,
  emptyLeaf,
  encodeNode,
  entryIn,
  NODE_SIZE,
  setEntry,
  split,
  TAMPERED,
} from "./tree-node.ts";
import type { Entry, Inner, Leaf, TreeNode } from "./tree-node.ts";

/** Nodes in memory, at most, but for those that changes under way have written: some 12 MiB. */
const CACHED = 2_048;
/** Nodes that are read at once when a whole range is asked for. */
const AHEAD = 64;

export const TOP = 0;

/** What the root's row says. */
export interface Top {
  /** The node over all others. */
  top: TreeNode;
  /** The id that the next new node gets. */
  next: number;
  /** Entries of rows that are not below it, since nearly every change writes one of them. */
  beside: ReadonlyMap<string, Entry | undefined>;
}

export function emptyTop(beside: Iterable<string>): Top {
  return { top: emptyLeaf(TOP), next: 1, beside: new Map([...beside].map((key) => [key, undefined])) };
}

/** Where in the tree the way ends because a node is not in memory. */
class Missing {
  readonly parent: Inner;
  readonly at: number;

  constructor(parent: Inner, at: number) {
    this.parent = parent;
    this.at = at;
  }
}

/** Nodes that a change has written, with their bytes; the top is not among them. */
export interface Written {
  nodes: { id: number; bytes: Buffer }[];
}

/** Entries of the rows from a key on, up to `end`, which is the first key of what follows; undefined: to the end. */
export interface Stretch {
  leaf: Leaf;
  end: string | undefined;
}

export class Tree {
  readonly #read: (ids: readonly number[]) => Promise<(Buffer | undefined)[]>;
  #top: TreeNode;
  #next: number;
  #beside: Map<string, Entry | undefined>;
  /** In the order of their last use. */
  readonly #nodes = new Map<number, TreeNode>();
  /** By node: how many changes under way have written it. */
  readonly #pins = new Map<number, number>();

  /** `read` gives the stored bytes of nodes. */
  constructor(top: Top, read: (ids: readonly number[]) => Promise<(Buffer | undefined)[]>) {
    this.#read = read;
    this.#top = top.top;
    this.#next = top.next;
    this.#beside = new Map(top.beside);
  }

  get top(): Top {
    return { top: this.#top, next: this.#next, beside: this.#beside };
  }

  /** Begins again from another top: what was in memory may never have been stored. */
  reset({ top, next, beside }: Top): void {
    this.#top = top;
    this.#next = next;
    this.#beside = new Map(beside);
    this.#nodes.clear();
    this.#pins.clear();
  }

  /** Whether the ways to all `keys` are in memory. */
  has(keys: readonly string[]): boolean {
    return keys.every((key) => this.#beside.has(key) || !(this.#way(key) instanceof Missing));
  }

  /** Brings the ways to all `keys`, some hundreds at most, into memory. Throws "corrupt". */
  async reach(keys: readonly string[]): Promise<void> {
    for (;;) {
      const others = keys.filter((key) => !this.#beside.has(key));
      const missing = others.map((key) => this.#way(key)).filter((way) => way instanceof Missing);
      if (missing.length === 0) return;
      await this.#load(missing);
    }
  }

  /** The entry of `key`, whose way is in memory. */
  entry(key: string): Entry | undefined {
    if (this.#beside.has(key)) return this.#beside.get(key);
    return entryIn(this.#leaf(key), key);
  }

  /** The leaf with the entries from `from` on; it is read together with those after it, as far as `to`. */
  async stretch(from: string, to: string): Promise<Stretch> {
    for (;;) {
      const way = this.#way(from);
      if (!(way instanceof Missing)) return { leaf: way.at(-1) as Leaf, end: this.#end(way, from) };
      const { parent, at } = way;
      const last = Math.min(countBefore(parent.bounds, to, true), at + AHEAD - 1);
      await this.#load(parent.children.slice(at, last + 1).map((_, index) => new Missing(parent, at + index)));
    }
  }

  /** Writes the entries of `changes`; undefined takes one out. The ways to all are in memory. */
  write(changes: ReadonlyMap<string, Entry | undefined>): Written {
    const dirty = new Set<number>();
    for (const [key, entry] of changes) {
      if (this.#beside.has(key)) {
        this.#beside.set(key, entry);
        continue;
      }
      for (const { id } of this.#wayTo(key)) dirty.add(id);
      setEntry(this.#leaf(key), key, entry);
    }
    const written: Written = { nodes: [] };
    this.#settleTop(dirty, written);
    for (const { id } of written.nodes) this.#pins.set(id, (this.#pins.get(id) ?? 0) + 1);
    this.#evict();
    return written;
  }

  /** What `write` gave is stored: its nodes may leave the memory. */
  stored({ nodes }: Written): void {
    for (const { id } of nodes) {
      const pins = (this.#pins.get(id) ?? 0) - 1;
      if (pins > 0) this.#pins.set(id, pins);
      else this.#pins.delete(id);
    }
  }

  /** From the top to the leaf of `key`, or to where a node is missing. */
  #way(key: string): TreeNode[] | Missing {
    const way: TreeNode[] = [this.#top];
    for (let node = this.#top; node.kind === "inner";) {
      const at = countBefore(node.bounds, key, true);
      const child = this.#use(node.children[at] ?? 0);
      if (!child) return new Missing(node, at);
      way.push(child);
      node = child;
    }
    return way;
  }

  #wayTo(key: string): TreeNode[] {
    const way = this.#way(key);
    if (way instanceof Missing) throw new HatchwayError("internal", "a node of the tree was not brought into memory");
    return way;
  }

  #leaf(key: string): Leaf {
    return this.#wayTo(key).at(-1) as Leaf;
  }

  /** The bound of what follows the leaf at the end of `way`. */
  #end(way: readonly TreeNode[], key: string): string | undefined {
    let end: string | undefined;
    for (const node of way) {
      if (node.kind === "inner") end = node.bounds[countBefore(node.bounds, key, true)] ?? end;
    }
    return end;
  }

  /**
   * Reads nodes that are not in memory. One that a change wrote meanwhile is there already, or its parent says something
   * else now: then its way is to be looked for again.
   */
  async #load(missing: readonly Missing[]): Promise<void> {
    const wanted = new Map<number, { parent: Inner; digest: Buffer | undefined }>();
    for (const { parent, at } of missing) {
      const id = parent.children[at] ?? 0;
      if (!this.#nodes.has(id)) wanted.set(id, { parent, digest: parent.digests[at] });
    }
    const found = await this.#read([...wanted.keys()]);
    for (const [index, [id, { parent, digest }]] of [...wanted].entries()) {
      const now = this.#nodes.has(id) ? undefined : this.#digestNow(parent, id);
      if (!now || !digest?.equals(now)) continue;
      const bytes = found[index];
      if (!bytes || !digestOf(id, bytes).equals(now)) throw staleNode(id, bytes !== undefined);
      this.#keep(decodeNode(id, bytes));
    }
    this.#evict();
  }

  /** What `parent` says of a child now, if it is a part of the tree still. */
  #digestNow(parent: Inner, id: number): Buffer | undefined {
    const current = parent.id === TOP ? this.#top : this.#nodes.get(parent.id);
    if (current?.kind !== "inner") return undefined;
    const at = current.children.indexOf(id);
    return at < 0 ? undefined : current.digests[at];
  }

  /** Gives every dirty node its bytes and its parent its digest; splits what has become too large. */
  #settleTop(dirty: ReadonlySet<number>, written: Written): void {
    this.#settleChildren(this.#top, dirty, written);
    while (encodeNode(this.#top).length > NODE_SIZE) {
      const child = { ...this.#top, id: this.#newId() };
      this.#top = { kind: "inner", id: TOP, bounds: [], children: [child.id], digests: [Buffer.alloc(DIGEST_SIZE)] };
      this.#keep(child);
      this.#settleChild(this.#top, 0, written);
    }
  }

  #settleChildren(node: TreeNode, dirty: ReadonlySet<number>, written: Written): void {
    if (node.kind === "leaf") return;
    for (let at = node.children.length - 1; at >= 0; at -= 1) {
      const id = node.children[at] ?? 0;
      const child = dirty.has(id) ? this.#nodes.get(id) : undefined;
      if (!child) continue;
      this.#settleChildren(child, dirty, written);
      this.#settleChild(node, at, written);
    }
  }

  #settleChild(parent: Inner, at: number, written: Written): void {
    const id = parent.children[at] ?? 0;
    const node = this.#nodes.get(id);
    if (!node) throw new HatchwayError("internal", "a node of the tree is not in memory");
    const bytes = encodeNode(node);
    if (bytes.length <= NODE_SIZE) {
      parent.digests[at] = digestOf(id, bytes);
      written.nodes.push({ id, bytes });
      return;
    }
    const { left, bound, right } = split(node, this.#newId());
    this.#keep(left);
    this.#keep(right);
    parent.children.splice(at + 1, 0, right.id);
    parent.digests.splice(at + 1, 0, Buffer.alloc(DIGEST_SIZE));
    parent.bounds.splice(at, 0, bound);
    this.#settleChild(parent, at + 1, written);
    this.#settleChild(parent, at, written);
  }

  #newId(): number {
    this.#next += 1;
    return this.#next - 1;
  }

  #use(id: number): TreeNode | undefined {
    const node = this.#nodes.get(id);
    if (!node) return undefined;
    this.#nodes.delete(id);
    this.#nodes.set(id, node);
    return node;
  }

  #keep(node: TreeNode): void {
    this.#nodes.delete(node.id);
    this.#nodes.set(node.id, node);
  }

  #evict(): void {
    if (this.#nodes.size <= CACHED) return;
    for (const id of this.#nodes.keys()) {
      if (this.#nodes.size <= CACHED / 2) break;
      if (!this.#pins.has(id)) this.#nodes.delete(id);
    }
  }
}

function staleNode(id: number, there: boolean): HatchwayError {
  const what = there ? "is not what was last written" : "is missing";
  return new HatchwayError("corrupt", `node ${id} of the store's tree ${what}`, { hint: TAMPERED });
}
