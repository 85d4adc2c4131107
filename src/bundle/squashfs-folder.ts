// The names of a SquashFS folder: groups of at most 256 whose inodes are in one metadata block, in the order of their
// bytes. `.` and `..` are not among them.
//
//   count - 1 u32 · start u32 · inode number u32                            of the group
//   offset u16 · number - that of the group s16 · type u16 · size - 1 u16 · name     of each
import type { Reference } from "#bundle/squashfs-metadata";
import type { ImageFolder, ImageNode } from "#bundle/tree";

const GROUP = 12;
const ENTRY = 8;
const MAX_GROUP = 256;
/** `SQUASHFS_DIR_TYPE` and `SQUASHFS_REG_TYPE`: here there is no other word for larger ones. */
const FOLDER = 1;
const FILE = 2;

/** Number and place of a node's inode. */
export type Locate = (node: ImageNode) => { number: number; inode: Reference };

/** Bytes of a folder's names. */
export function namesSize(folder: ImageFolder, locate: Locate): number {
  const names = folder.nodes.reduce((size, { name }) => size + ENTRY + name.length, 0);
  return names + GROUP * groupsOf(folder, locate).length;
}

export function encodeNames(folder: ImageFolder, locate: Locate): Buffer {
  const names = Buffer.alloc(namesSize(folder, locate));
  let at = 0;
  for (const group of groupsOf(folder, locate)) {
    const [first] = group;
    if (!first) continue;
    const { number: base, inode } = locate(first);
    names.writeUInt32LE(group.length - 1, at);
    names.writeUInt32LE(inode.block, at + 4);
    names.writeUInt32LE(base, at + 8);
    at += GROUP;
    for (const node of group) {
      const located = locate(node);
      names.writeUInt16LE(located.inode.offset, at);
      names.writeInt16LE(located.number - base, at + 2);
      names.writeUInt16LE(node.kind === "file" ? FILE : FOLDER, at + 4);
      names.writeUInt16LE(node.name.length - 1, at + 6);
      at += ENTRY + names.write(node.name, at + ENTRY, "latin1");
    }
  }
  return names;
}

function groupsOf({ nodes }: ImageFolder, locate: Locate): ImageNode[][] {
  const groups: ImageNode[][] = [];
  for (const node of nodes) {
    const group = groups.at(-1);
    const first = group?.[0];
    if (!group || !first || group.length === MAX_GROUP || !fits(locate(first), locate(node))) groups.push([node]);
    else group.push(node);
  }
  return groups;
}

/** A block holds at most 256 inodes of 32 bytes, so that their numbers are never too far apart. */
function fits(first: ReturnType<Locate>, one: ReturnType<Locate>): boolean {
  return first.inode.block === one.inode.block;
}
