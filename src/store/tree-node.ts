// A node of the tree over all rows, as it is stored in a row `!tree:ID`, ID eight hex digits:
//
//   0 kind 1, 1: leaf | 1 entries, u16 big-endian | 3 length of the prefix, u8 | 4 prefix that all keys share | …
//     each entry: length of the rest of the key, u8 | the rest | version, u32 | mark 8
//   0 kind 1, 2: inner | 1 children, u16 | 3 length of the prefix, u8 | 4 prefix that all bounds share | …
//     first child: id, u32 | digest 20; each other: length of the rest of its bound, u8 | the rest | id, u32 | digest 20
//
// Entries are in the order of their keys. A child has the keys from its bound on, up to the next one's. A digest is the
// first 20 bytes of SHA-256 over the child's bytes and id (u32). A row's mark is its last 8 bytes, XORed with those from
// byte 60 on where it has 68: the ends of a sealed value's two tags, so that no two rows sealed at different times have
// the same.
import { hash } from "node:crypto";
import { HatchwayError } from "#error";

/** The hint of every error that says so. */
export const TAMPERED = "somebody changed the store: put back its newest copy, or a backup";
/** Bytes of a node, at most; one that has more is split. */
export const NODE_SIZE = 960;
export const DIGEST_SIZE = 20;
const HEAD_SIZE = 4;
const ENTRY_SIZE = 13;
/** Of an inner node's child, with its bound's length. */
const CHILD_SIZE = 25;

export interface Leaf {
  kind: "leaf";
  id: number;
  keys: string[];
  versions: number[];
  marks: bigint[];
}

export interface Inner {
  kind: "inner";
  id: number;
  /** The least key of each child but the first, which has all that are less. */
  bounds: string[];
  children: number[];
  digests: Buffer[];
}

export type TreeNode = Leaf | Inner;

/** What the tree knows of a row. */
export interface Entry {
  version: number;
  mark: bigint;
}

export function markOf(bytes: Buffer): bigint {
  if (bytes.length < 8) return BigInt(`0x${bytes.toString("hex").padStart(16, "0")}`);
  const end = bytes.readBigUInt64BE(bytes.length - 8);
  return bytes.length < 68 ? end : end ^ bytes.readBigUInt64BE(60);
}

export function emptyLeaf(id: number): Leaf {
  return { kind: "leaf", id, keys: [], versions: [], marks: [] };
}

export function entryIn(leaf: Leaf, key: string): Entry | undefined {
  const at = countBefore(leaf.keys, key, false);
  return leaf.keys[at] === key ? entryAt(leaf, at) : undefined;
}

export function entryAt(leaf: Leaf, at: number): Entry {
  return { version: leaf.versions[at] ?? 0, mark: leaf.marks[at] ?? 0n };
}

/** Puts an entry in its place; undefined takes it out. */
export function setEntry(leaf: Leaf, key: string, entry: Entry | undefined): void {
  const at = countBefore(leaf.keys, key, false);
  const there = leaf.keys[at] === key ? 1 : 0;
  if (!entry) {
    if (there) for (const list of [leaf.keys, leaf.versions, leaf.marks]) list.splice(at, 1);
    return;
  }
  leaf.keys.splice(at, there, key);
  leaf.versions.splice(at, there, entry.version);
  leaf.marks.splice(at, there, entry.mark);
}

/** How many of `sorted` are less than `key`, or not more with `orSame`. */
export function countBefore(sorted: readonly string[], key: string, orSame: boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const there = sorted[middle] ?? "";
    if (there < key || (orSame && there === key)) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function encodeNode(node: TreeNode): Buffer {
  const names = node.kind === "leaf" ? node.keys : node.bounds;
  const prefix = sharedPrefix(names);
  const each = node.kind === "leaf" ? ENTRY_SIZE : CHILD_SIZE;
  const rest = names.reduce((size, name) => size + name.length - prefix + each, 0);
  const first = node.kind === "inner" ? CHILD_SIZE - 1 : 0;
  const bytes = Buffer.allocUnsafe(HEAD_SIZE + prefix + first + rest);
  bytes[0] = node.kind === "leaf" ? 1 : 2;
  bytes.writeUInt16BE(node.kind === "leaf" ? node.keys.length : node.children.length, 1);
  bytes[3] = prefix;
  let at = HEAD_SIZE + bytes.write((names[0] ?? "").slice(0, prefix), HEAD_SIZE, "latin1");
  if (node.kind === "inner") at = writeChild(bytes, at, node, 0);
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index] ?? "";
    bytes[at] = name.length - prefix;
    at += 1 + bytes.write(prefix > 0 ? name.slice(prefix) : name, at + 1, "latin1");
    if (node.kind === "inner") at = writeChild(bytes, at, node, index + 1);
    else {
      at = bytes.writeUInt32BE(node.versions[index] ?? 0, at);
      at = bytes.writeBigUInt64BE(node.marks[index] ?? 0n, at);
    }
  }
  return bytes;
}

function writeChild(bytes: Buffer, at: number, node: Inner, index: number): number {
  const next = bytes.writeUInt32BE(node.children[index] ?? 0, at);
  return next + (node.digests[index]?.copy(bytes, next) ?? 0);
}

/** The node that `encodeNode` wrote. Throws "corrupt"; a node whose digest holds does not make it throw. */
export function decodeNode(id: number, bytes: Buffer): TreeNode {
  const kind = bytes[0];
  const prefixSize = bytes[3] ?? 0;
  if (bytes.length < HEAD_SIZE + prefixSize || (kind !== 1 && kind !== 2)) throw damaged(id);
  const count = bytes.readUInt16BE(1);
  const prefix = bytes.toString("latin1", HEAD_SIZE, HEAD_SIZE + prefixSize);
  const names: string[] = [];
  const each = kind === 1 ? 12 : CHILD_SIZE - 1;
  const places: number[] = kind === 2 ? [HEAD_SIZE + prefixSize] : [];
  let at = HEAD_SIZE + prefixSize + (kind === 2 ? each : 0);
  for (let index = kind === 2 ? 1 : 0; index < count; index += 1) {
    const end = at + 1 + (bytes[at] ?? 0);
    names.push(prefix + bytes.toString("latin1", at + 1, end));
    places.push(end);
    at = end + each;
  }
  if (at !== bytes.length || (kind === 2 && count === 0)) throw damaged(id);
  if (kind === 1) {
    const versions = places.map((place) => bytes.readUInt32BE(place));
    const marks = places.map((place) => bytes.readBigUInt64BE(place + 4));
    return { kind: "leaf", id, keys: names, versions, marks };
  }
  const children = places.map((place) => bytes.readUInt32BE(place));
  const digests = places.map((place) => Buffer.from(bytes.subarray(place + 4, place + 4 + DIGEST_SIZE)));
  return { kind: "inner", id, bounds: names, children, digests };
}

export function digestOf(id: number, bytes: Buffer): Buffer {
  const whole = Buffer.allocUnsafe(bytes.length + 4);
  bytes.copy(whole);
  whole.writeUInt32BE(id, bytes.length);
  return hash("sha256", whole, "buffer").subarray(0, DIGEST_SIZE);
}

/** Halves of a node that is too large, the first with its id, and the bound between them. */
export function split(node: TreeNode, id: number): { left: TreeNode; bound: string; right: TreeNode } {
  if (node.kind === "leaf") {
    const { keys, versions, marks } = node;
    const half = keys.length >>> 1;
    const part = (from: number, to?: number): Omit<Leaf, "id"> => ({
      kind: "leaf",
      keys: keys.slice(from, to),
      versions: versions.slice(from, to),
      marks: marks.slice(from, to),
    });
    const bound = between(keys[half - 1] ?? "", keys[half] ?? "");
    return { left: { ...part(0, half), id: node.id }, bound, right: { ...part(half), id } };
  }
  const { bounds, children, digests } = node;
  const half = children.length >>> 1;
  const part = (from: number, to?: number): Omit<Inner, "id"> => ({
    kind: "inner",
    bounds: bounds.slice(from, to === undefined ? undefined : to - 1),
    children: children.slice(from, to),
    digests: digests.slice(from, to),
  });
  return { left: { ...part(0, half), id: node.id }, bound: bounds[half - 1] ?? "", right: { ...part(half), id } };
}

/** The shortest key that is more than `left` and not more than `right`. */
export function between(left: string, right: string): string {
  let shared = 0;
  while (shared < left.length && left[shared] === right[shared]) shared += 1;
  return right.slice(0, shared + 1);
}

/** Sorted names share what the first and the last share. */
function sharedPrefix(names: readonly string[]): number {
  const first = names[0] ?? "";
  const last = names.at(-1) ?? "";
  let shared = 0;
  while (shared < first.length && first[shared] === last[shared]) shared += 1;
  return shared;
}

function damaged(id: number): HatchwayError {
  return new HatchwayError("corrupt", `node ${id} of the store's tree is not one`);
}
