// A tree of files as an EROFS image, uncompressed. What is on the disk is that of the Linux kernel's
// fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst; all numbers are little-endian.
//
//   block 0    1,024 zeros; the superblock at 1,024; zeros
//   block 1 …  for each node, folders first and then files in their order: its whole blocks of content, if it has any;
//              and the block of inodes that its own is in, once that is full. Those of folders are in blocks of their
//              own, since the root's number must be small
//
// An inode is of the extended form, 64 bytes, at a multiple of 32 that is its number. What content is left after whole
// blocks stands behind its inode in the same block ("flat inline"), so that a small secret costs its own size; what is
// too long for that fills another block ("flat plain"). No value is in block 0, whose bytes have a checksum there.
import { HatchwayError } from "#error";
import { crc32c } from "#bundle/crc32c";
import { encodeFolder, folderSize } from "#bundle/erofs-folder";
import type { Sink } from "#bundle/tar";
import {
  checkImageSize,
  checkLabel,
  foldersOf,
  LABEL,
  type ImageNode,
  type ImageTree,
  type OpenFile,
} from "#bundle/tree";

export const BLOCK = 4_096;
/** `SLOT` of erofs_fs.h: inodes are numbered by where they stand. */
const SLOT = 32;
const INODE = 64;
const SUPERBLOCK = 1_024;
const MAGIC = 0xe0f5e1e2;
/** EROFS_FEATURE_COMPAT_SB_CHKSUM and _MTIME: the superblock has a checksum; inodes have a mtime, not a ctime. */
const COMPATIBLE = 0x1 | 0x2;
/** `i_format`: extended, and where the content is. */
const FLAT_PLAIN = 1;
const FLAT_INLINE = 1 | (2 << 1);

/** One block of inodes; its number is known when the one after it begins. */
interface InodeBlock {
  block: number;
  used: number;
}

interface Placed {
  node: ImageNode;
  /** Bytes of content. */
  size: number;
  /** The first of its whole blocks; 0 where there is none. */
  block: number;
  /** How many of them. */
  blocks: number;
  /** Bytes of content that stand behind the inode. */
  inline: number;
  inodes: InodeBlock;
  /** Of the inode, in its block. */
  offset: number;
}

/** An image whose size is known, and where in it everything goes, before any content is asked for. */
export class ErofsImage {
  /** Bytes in all. */
  readonly size: number;
  readonly #tree: ImageTree;
  readonly #label: string;
  readonly #placed: Placed[] = [];
  readonly #of = new Map<ImageNode, Placed>();
  readonly #parents = new Map<ImageNode, ImageNode>();

  /** Throws HatchwayError "too-large", or "invalid" for a label that is longer than 15 characters. */
  constructor(tree: ImageTree, label: string = LABEL) {
    checkLabel(label, 15);
    this.#tree = tree;
    this.#label = label;
    const blocks = this.#place();
    this.size = blocks * BLOCK;
    checkImageSize(this.size);
    // The superblock has 16 bits for it, and it is the first of all inodes.
    if (this.#number(tree.root) > 0xffff) {
      throw new HatchwayError("too-large", "the root of the image has more files than an EROFS image can begin with");
    }
  }

  /** `open` is called once for each file, in the order of the tree's; the sink gets the image from first byte to last. */
  async writeTo(open: OpenFile, sink: Sink): Promise<void> {
    await sink(this.#superblock());
    const inodes = Buffer.alloc(BLOCK);
    let current = this.#placed[0]?.inodes;
    try {
      for (const placed of this.#placed) {
        if (placed.inodes !== current) {
          await sink(inodes);
          inodes.fill(0);
          current = placed.inodes;
        }
        await this.#write(placed, inodes, open, sink);
      }
      await sink(inodes);
    } finally {
      inodes.fill(0);
    }
  }

  /** Decides where everything goes; how many blocks there are. */
  #place(): number {
    const folders = foldersOf(this.#tree.root);
    for (const folder of folders) for (const node of folder.nodes) this.#parents.set(node, folder);
    let next = 1;
    let inodes: InodeBlock = { block: 0, used: 0 };
    for (const node of [...folders, ...this.#tree.files]) {
      const size = node.kind === "file" ? node.size : folderSize(node);
      const tail = size % BLOCK;
      const inline = tail <= BLOCK - INODE ? tail : 0;
      const blocks = Math.ceil((size - inline) / BLOCK);
      const room = INODE + inline;
      if (inodes.used + room > BLOCK || node === this.#tree.files[0]) {
        inodes.block = next++;
        inodes = { block: 0, used: 0 };
      }
      const placed: Placed = { node, size, blocks, inline, inodes, offset: inodes.used, block: blocks > 0 ? next : 0 };
      next += blocks;
      inodes.used += Math.ceil(room / SLOT) * SLOT;
      this.#placed.push(placed);
      this.#of.set(node, placed);
    }
    inodes.block = next++;
    return next;
  }

  #number(node: ImageNode): number {
    const placed = this.#of.get(node);
    if (!placed) throw new HatchwayError("internal", "a node of the image that has no place in it");
    return (placed.inodes.block * BLOCK + placed.offset) / SLOT;
  }

  /** Puts the inode and what stands behind it into `inodes`; gives whole blocks to the sink. */
  async #write(placed: Placed, inodes: Buffer, open: OpenFile, sink: Sink): Promise<void> {
    const { node, size, inline } = placed;
    this.#writeInode(placed, inodes.subarray(placed.offset, placed.offset + INODE));
    const content =
      node.kind === "file"
        ? await open(node)
        : encodeFolder(node, this.#parents.get(node) ?? node, (other) => this.#number(other));
    try {
      if (content.length !== size) throw new HatchwayError("internal", "a file of the image has another size");
      inodes.set(content.subarray(size - inline), placed.offset + INODE);
      if (placed.blocks === 0) return;
      await sink(content.subarray(0, size - inline));
      const padding = placed.blocks * BLOCK - (size - inline);
      if (padding > 0) await sink(new Uint8Array(padding));
    } finally {
      content.fill(0);
    }
  }

  /** `struct erofs_inode_extended`. */
  #writeInode({ node, size, block, inline }: Placed, inode: Buffer): void {
    const isFile = node.kind === "file";
    const links = isFile ? 1 : 2 + node.nodes.filter(({ kind }) => kind === "folder").length;
    inode.writeUInt16LE(inline > 0 ? FLAT_INLINE : FLAT_PLAIN, 0);
    inode.writeUInt16LE((isFile ? 0o100000 : 0o040000) | node.mode, 4);
    inode.writeUInt32LE(size, 8);
    inode.writeUInt32LE(block, 16);
    inode.writeUInt32LE(this.#number(node), 20);
    inode.writeUInt32LE(isFile ? node.uid : 0, 24);
    inode.writeUInt32LE(isFile ? node.gid : 0, 28);
    // 64 bits, as the number that JavaScript holds.
    inode.writeUInt32LE(node.mtime % 2 ** 32, 32);
    inode.writeUInt32LE(Math.floor(node.mtime / 2 ** 32), 36);
    inode.writeUInt32LE(links, 44);
  }

  /** Block 0, with `struct erofs_super_block`. */
  #superblock(): Buffer {
    const block = Buffer.alloc(BLOCK);
    const superblock = block.subarray(SUPERBLOCK, SUPERBLOCK + 128);
    superblock.writeUInt32LE(MAGIC, 0);
    superblock.writeUInt32LE(COMPATIBLE, 8);
    superblock.writeUInt8(Math.log2(BLOCK), 12);
    superblock.writeUInt16LE(this.#number(this.#tree.root), 14);
    superblock.writeBigUInt64LE(BigInt(this.#placed.length), 16);
    superblock.writeBigUInt64LE(BigInt(this.#tree.root.mtime), 24);
    superblock.writeUInt32LE(this.size / BLOCK, 36);
    superblock.set(this.#tree.uuid, 48);
    superblock.write(this.#label, 64, "latin1");
    // Over all of the block that follows the boot sector's room, with the checksum's own field as zero.
    superblock.writeUInt32LE(crc32c(block.subarray(SUPERBLOCK), 0xffffffff), 4);
    return block;
  }
}
