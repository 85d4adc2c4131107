// The row over all rows, `!tree`. Every commit writes it:
//
//   0 "HWT" 0x01 | 4 revision of that commit, u64 big-endian | 12 id of the next new node, u32
//   16 size of the leaf that follows, u32 | 20 a leaf with the rows that are not below the top | … the top node | … MAC 32
//
// Both nodes are as src/store/tree-node.ts draws them.
// The MAC is HMAC-SHA256 over the store's epoch (16 bytes) and the row before it.
import { createHmac, type KeyObject, timingSafeEqual } from "node:crypto";
import { HatchwayError } from "#error";
import { TOP, type Top } from "./tree.ts";
import { decodeNode, emptyLeaf, encodeNode, entryIn, type Leaf, setEntry } from "./tree-node.ts";

export const ROOT_KEY = "!tree";
const MAGIC = Buffer.from("HWT\u0001", "latin1");
const HEAD_SIZE = 20;
const MAC_SIZE = 32;

export interface Root extends Top {
  revision: number;
}

/** Whether a row is the tree's own. */
export function isOfTree(key: string): boolean {
  return key.startsWith(ROOT_KEY);
}

export function nodeKey(id: number): string {
  return `${ROOT_KEY}:${id.toString(16).padStart(8, "0")}`;
}

export function encodeRoot(key: KeyObject, epoch: Buffer, { revision, top, next, beside }: Root): Buffer {
  const leaf = encodeNode(leafOf(beside));
  const node = encodeNode(top);
  const head = Buffer.alloc(HEAD_SIZE);
  MAGIC.copy(head);
  head.writeBigUInt64BE(BigInt(revision), 4);
  head.writeUInt32BE(next, 12);
  head.writeUInt32BE(leaf.length, 16);
  const body = Buffer.concat([head, leaf, node]);
  return Buffer.concat([body, macOf(key, epoch, body)]);
}

/**
 * Throws "corrupt" for a row that was not written under this key in a store of this epoch. `beside` names the rows that
 * are not below the top.
 */
export function decodeRoot(key: KeyObject, epoch: Buffer, bytes: Buffer, beside: Iterable<string>): Root {
  const body = bytes.subarray(0, -MAC_SIZE);
  if (bytes.length < HEAD_SIZE + MAC_SIZE || !body.subarray(0, 4).equals(MAGIC)) {
    throw new HatchwayError("corrupt", `row "${ROOT_KEY}" does not begin as the root of a store's tree does`);
  }
  if (!timingSafeEqual(macOf(key, epoch, body), bytes.subarray(-MAC_SIZE))) {
    throw new HatchwayError("corrupt", "the root of the store's tree was edited, or is that of another store");
  }
  const end = HEAD_SIZE + body.readUInt32BE(16);
  const leaf = decodeNode(TOP, body.subarray(HEAD_SIZE, end)) as Leaf;
  return {
    revision: Number(body.readBigUInt64BE(4)),
    next: body.readUInt32BE(12),
    top: decodeNode(TOP, body.subarray(end)),
    beside: new Map([...beside].map((name) => [name, entryIn(leaf, name)])),
  };
}

function leafOf(beside: Top["beside"]): Leaf {
  const leaf = emptyLeaf(TOP);
  for (const [name, entry] of beside) setEntry(leaf, name, entry);
  return leaf;
}

function macOf(key: KeyObject, epoch: Buffer, body: Buffer): Buffer {
  return createHmac("sha256", key).update(epoch).update(body).digest();
}
