// A tree of files as a SquashFS 4.0 image, uncompressed. What is on the disk is that of the Linux kernel's
// fs/squashfs/squashfs_fs.h and Documentation/filesystems/squashfs.rst; all numbers are little-endian.
//
//   superblock, 96 bytes
//   the files' contents, one after the other
//   inode table       metadata blocks: folders, then files
//   directory table   metadata blocks: the names of each folder
//   id table          metadata blocks of uids and gids; then where each of these blocks is
//   zeros, up to 4,096 bytes
//
// A metadata block is two bytes of length, with the bit that says uncompressed, and up to 8,192 bytes. Where something
// is in a table is told as a reference: the place of its block behind the table's start, and the place in the block.
import { MetadataTable, tableSize, type Reference } from "#bundle/squashfs-metadata";
import { encodeNames, namesSize } from "#bundle/squashfs-folder";
import type { Sink } from "#bundle/tar";
import { HatchwayError } from "#error";
import {
  checkImageSize,
  foldersOf,
  type ImageFolder,
  type ImageNode,
  type ImageTree,
  type OpenFile,
} from "#bundle/tree";

const SUPERBLOCK = 96;
const MAGIC = 0x73717368;
const BLOCK_LOG = 17;
const DATA_BLOCK = 2 ** BLOCK_LOG;
/** gzip: a reader wants one that it knows, though nothing is compressed. */
const COMPRESSION = 1;
/** Nothing is compressed (0x1, 0x2, 0x8, 0x800); no fragments (0x10); no extended attributes (0x200). */
const FLAGS = 0x1 | 0x2 | 0x8 | 0x10 | 0x200 | 0x800;
/** In the size of a data block: it is not compressed. */
const UNCOMPRESSED = 0x1000000;
const NONE = 0xffffffff;
const NO_TABLE = 0xffffffffffffffffn;
/** `SQUASHFS_REG_TYPE`, and `SQUASHFS_LDIR_TYPE`, whose size has 32 bits. */
const FILE = 2;
const FOLDER = 8;
const FILE_INODE = 32;
const FOLDER_INODE = 40;
const PADDED_TO = 4_096;
const MAX_U32 = 0xffffffff;

interface Placed {
  number: number;
  inode: Reference;
  /** Of a file: where its content begins. Of a folder: how many bytes its names have. */
  at: number;
  /** Of a folder. */
  names: Reference;
}

/** An image whose size is known, and where in it everything goes, before any content is asked for. */
export class SquashfsImage {
  /** Bytes in all. */
  readonly size: number;
  readonly #tree: ImageTree;
  readonly #folders: ImageFolder[];
  readonly #placed = new Map<ImageNode, Placed>();
  readonly #parents = new Map<ImageNode, ImageNode>();
  /** Each uid and gid, with its place in their table. */
  readonly #ids: ReadonlyMap<number, number>;
  readonly #tables: { inodes: number; names: number; ids: number; idIndex: number; end: number };

  /** Throws HatchwayError "too-large". */
  constructor(tree: ImageTree) {
    this.#tree = tree;
    this.#folders = foldersOf(tree.root);
    for (const folder of this.#folders) for (const node of folder.nodes) this.#parents.set(node, folder);
    const ids = new Set([0, ...tree.files.flatMap(({ uid, gid }) => [uid, gid])]);
    this.#ids = new Map([...ids].map((id, at) => [id, at]));
    if (ids.size > 0xffff) throw new HatchwayError("too-large", "more uids and gids than SquashFS has room for");
    this.#tables = this.#place();
    this.size = Math.ceil(this.#tables.end / PADDED_TO) * PADDED_TO;
    checkImageSize(this.size);
  }

  /** `open` is called once for each file, in the order of the tree's; the sink gets the image from first byte to last. */
  async writeTo(open: OpenFile, sink: Sink): Promise<void> {
    await sink(this.#superblock());
    for (const file of this.#tree.files) {
      const content = await open(file);
      try {
        if (content.length !== file.size) throw new HatchwayError("internal", "a file of the image has another size");
        await sink(content);
      } finally {
        content.fill(0);
      }
    }
    const [inodes, names] = this.#encodeTables();
    await sink(inodes);
    await sink(names);
    await sink(this.#encodeIds());
    await sink(new Uint8Array(this.size - this.#tables.end));
  }

  /** Decides where everything goes. */
  #place(): { inodes: number; names: number; ids: number; idIndex: number; end: number } {
    let number = 0;
    let inodeAt = 0;
    let nameAt = 0;
    let dataAt = SUPERBLOCK;
    for (const node of [...this.#folders, ...this.#tree.files]) {
      const at = node.kind === "file" ? dataAt : 0;
      const inode = MetadataTable.reference(inodeAt);
      this.#placed.set(node, { number: ++number, inode, at, names: { block: 0, offset: 0 } });
      if (node.kind === "file") {
        inodeAt += FILE_INODE + 4 * dataBlocks(node.size);
        dataAt += node.size;
      } else inodeAt += FOLDER_INODE;
    }
    // How the names are grouped depends on where the inodes are.
    for (const folder of this.#folders) {
      const placed = this.#of(folder);
      placed.names = MetadataTable.reference(nameAt);
      placed.at = namesSize(folder, (node) => this.#of(node));
      nameAt += placed.at;
    }
    const names = dataAt + tableSize(inodeAt);
    const ids = names + tableSize(nameAt);
    const idIndex = ids + tableSize(4 * this.#ids.size);
    return { inodes: dataAt, names, ids, idIndex, end: idIndex + 8 * MetadataTable.blocks(4 * this.#ids.size) };
  }

  #of(node: ImageNode): Placed {
    const placed = this.#placed.get(node);
    if (!placed) throw new HatchwayError("internal", "a node of the image that has no place in it");
    return placed;
  }

  #encodeTables(): [inodes: Buffer, names: Buffer] {
    const inodes = new MetadataTable();
    const names = new MetadataTable();
    for (const node of [...this.#folders, ...this.#tree.files]) {
      inodes.add(this.#encodeInode(node));
      if (node.kind === "folder") names.add(encodeNames(node, (other) => this.#of(other)));
    }
    return [inodes.encode(), names.encode()];
  }

  /** `struct squashfs_reg_inode` and `squashfs_ldir_inode`; their first 16 bytes are the same. */
  #encodeInode(node: ImageNode): Buffer {
    const { number, at, names } = this.#of(node);
    const isFile = node.kind === "file";
    const blocks = isFile ? dataBlocks(node.size) : 0;
    const inode = Buffer.alloc(isFile ? FILE_INODE + 4 * blocks : FOLDER_INODE);
    inode.writeUInt16LE(isFile ? FILE : FOLDER, 0);
    inode.writeUInt16LE(node.mode, 2);
    inode.writeUInt16LE(this.#ids.get(isFile ? node.uid : 0) ?? 0, 4);
    inode.writeUInt16LE(this.#ids.get(isFile ? node.gid : 0) ?? 0, 6);
    inode.writeUInt32LE(Math.min(node.mtime, MAX_U32), 8);
    inode.writeUInt32LE(number, 12);
    if (node.kind === "file") {
      inode.writeUInt32LE(at, 16);
      inode.writeUInt32LE(NONE, 20);
      inode.writeUInt32LE(node.size, 28);
      for (let block = 0; block < blocks; block++) {
        const size = Math.min(DATA_BLOCK, node.size - block * DATA_BLOCK);
        inode.writeUInt32LE(size | UNCOMPRESSED, FILE_INODE + 4 * block);
      }
      return inode;
    }
    const parent = this.#parents.get(node);
    inode.writeUInt32LE(2 + node.nodes.filter(({ kind }) => kind === "folder").length, 16);
    // A folder's size counts `.` and `..`, which are not there, as three bytes.
    inode.writeUInt32LE(at + 3, 20);
    inode.writeUInt32LE(names.block, 24);
    // The root's parent has the number that none has.
    inode.writeUInt32LE(parent ? this.#of(parent).number : this.#placed.size + 1, 28);
    inode.writeUInt16LE(names.offset, 34);
    inode.writeUInt32LE(NONE, 36);
    return inode;
  }

  #encodeIds(): Buffer {
    const table = new MetadataTable();
    const ids = Buffer.alloc(4 * this.#ids.size);
    for (const [id, at] of this.#ids) ids.writeUInt32LE(id, 4 * at);
    table.add(ids);
    const index = Buffer.alloc(8 * MetadataTable.blocks(ids.length));
    for (let at = 0; at < index.length; at += 8) {
      index.writeBigUInt64LE(BigInt(this.#tables.ids + MetadataTable.reference(1_024 * at).block), at);
    }
    return Buffer.concat([table.encode(), index]);
  }

  /** `struct squashfs_super_block`. */
  #superblock(): Buffer {
    const { inodes, names, ids, idIndex, end } = this.#tables;
    const root = this.#of(this.#tree.root).inode;
    const block = Buffer.alloc(SUPERBLOCK);
    block.writeUInt32LE(MAGIC, 0);
    block.writeUInt32LE(this.#placed.size, 4);
    block.writeUInt32LE(Math.min(this.#tree.root.mtime, MAX_U32), 8);
    block.writeUInt32LE(DATA_BLOCK, 12);
    block.writeUInt16LE(COMPRESSION, 20);
    block.writeUInt16LE(BLOCK_LOG, 22);
    block.writeUInt16LE(FLAGS, 24);
    block.writeUInt16LE(this.#ids.size, 26);
    block.writeUInt16LE(4, 28);
    block.writeBigUInt64LE((BigInt(root.block) << 16n) | BigInt(root.offset), 32);
    block.writeBigUInt64LE(BigInt(end), 40);
    block.writeBigUInt64LE(BigInt(idIndex), 48);
    block.writeBigUInt64LE(NO_TABLE, 56);
    block.writeBigUInt64LE(BigInt(inodes), 64);
    block.writeBigUInt64LE(BigInt(names), 72);
    // There are no fragments: their table is empty, and its place is where it would be.
    block.writeBigUInt64LE(BigInt(ids), 80);
    block.writeBigUInt64LE(NO_TABLE, 88);
    return block;
  }
}

function dataBlocks(size: number): number {
  return Math.ceil(size / DATA_BLOCK);
}
