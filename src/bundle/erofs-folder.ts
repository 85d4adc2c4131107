// The content of an EROFS folder, by Documentation/filesystems/erofs.rst: names in the order of their bytes, `.` and `..`
// among them, in blocks that each stand for themselves.
//
//   nid u64 · nameoff u16 · file_type u8 · reserved u8     one for each name of the block
//   names                                                  one after the other, without an end
//
// The first nameoff says where the names begin, and so how many there are; the last name ends with the block, or at the
// first NUL.
import type { ImageFolder, ImageNode } from "#bundle/tree";

const BLOCK = 4_096;
const DIRENT = 12;
/** `EROFS_FT_REG_FILE` and `EROFS_FT_DIR`. */
const REGULAR_FILE = 1;
const DIRECTORY = 2;

interface Block {
  names: string[];
  /** Bytes that it needs. */
  size: number;
}

/** Bytes of a folder's content. */
export function folderSize(folder: ImageFolder): number {
  return sizeOf(blocksOf(namesOf(folder)));
}

/** `number` gives the number of a node's inode. */
export function encodeFolder(folder: ImageFolder, parent: ImageNode, number: (node: ImageNode) => number): Buffer {
  const nodes = new Map<string, ImageNode>(folder.nodes.map((node) => [node.name, node]));
  nodes.set(".", folder).set("..", parent);
  const blocks = blocksOf(namesOf(folder));
  const content = Buffer.alloc(sizeOf(blocks));
  blocks.forEach(({ names }, at) => {
    const block = content.subarray(at * BLOCK, (at + 1) * BLOCK);
    let nameAt = names.length * DIRENT;
    names.forEach((name, index) => {
      const node = nodes.get(name) ?? folder;
      const entryAt = index * DIRENT;
      // The upper half stays zero: a number has 32 bits in an image of 2 GiB.
      block.writeUInt32LE(number(node), entryAt);
      block.writeUInt16LE(nameAt, entryAt + 8);
      block.writeUInt8(node.kind === "file" ? REGULAR_FILE : DIRECTORY, entryAt + 10);
      nameAt += block.write(name, nameAt, "latin1");
    });
  });
  return content;
}

function namesOf({ nodes }: ImageFolder): string[] {
  return [".", "..", ...nodes.map(({ name }) => name)].sort();
}

/** As many names in each block as it has room for. */
function blocksOf(names: readonly string[]): Block[] {
  const blocks: Block[] = [];
  for (const name of names) {
    const size = DIRENT + name.length;
    const last = blocks.at(-1);
    if (!last || last.size + size > BLOCK) blocks.push({ names: [name], size });
    else {
      last.names.push(name);
      last.size += size;
    }
  }
  return blocks;
}

function sizeOf(blocks: readonly Block[]): number {
  return (blocks.length - 1) * BLOCK + (blocks.at(-1)?.size ?? 0);
}
