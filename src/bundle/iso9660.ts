// A tree of files as an ISO 9660 image with Rock Ridge: ECMA-119, and IEEE P1281 and P1282 (SUSP 1.12, RRIP 1.10).
//
//   sectors 0 … 15   zeros
//   sector 16        primary volume descriptor
//   sector 17        the descriptor that ends the set
//   path tables      numbers little-endian, then again big-endian
//   folders          parents before children
//   files            each from a sector of its own
//
// A sector has 2,048 bytes. ISO 9660's own names are F0000001.;1 and D0000001, in the order of the real ones; modes,
// owners, times and real names are Rock Ridge's, which every Linux reads.
import { bothEndian16, bothEndian32, longDate, shortDate } from "#bundle/iso9660-numbers";
import { encodeRecords, folderSectors, SECTOR, type Extent } from "#bundle/iso9660-folder";
import { HatchwayError } from "#error";
import type { Sink } from "#bundle/tar";
import {
  checkImageSize,
  checkLabel,
  foldersOf,
  LABEL,
  type ImageFolder,
  type ImageNode,
  type ImageTree,
  type OpenFile,
} from "#bundle/tree";

const DESCRIPTOR = 16;
const PATH_TABLES = 18;
const PVD_VERSION = "\u0001CD001\u0001";
const END_VERSION = "\u00ffCD001\u0001";

/** An image whose size is known, and where in it everything goes, before any content is asked for. */
export class IsoImage {
  /** Bytes in all. */
  readonly size: number;
  readonly #tree: ImageTree;
  readonly #label: string;
  readonly #folders: ImageFolder[];
  readonly #parents = new Map<ImageNode, ImageFolder>();
  readonly #extents = new Map<ImageNode, Extent>();
  readonly #pathTableSize: number;
  /** The first sector after the folders. */
  #dataAt = 0;

  /** Throws HatchwayError "too-large", or "invalid" for a label that is longer than 32 characters. */
  constructor(tree: ImageTree, label: string = LABEL) {
    checkLabel(label, 32);
    this.#tree = tree;
    this.#label = label;
    this.#folders = foldersOf(tree.root);
    if (this.#folders.length > 0xffff)
      throw new HatchwayError("too-large", "more folders than ISO 9660 has numbers for");
    for (const folder of this.#folders) for (const node of folder.nodes) this.#parents.set(node, folder);
    this.#pathTableSize = this.#pathTable("LE").length;
    this.size = this.#place() * SECTOR;
    checkImageSize(this.size);
  }

  /** `open` is called once for each file, in the order of the tree's; the sink gets the image from first byte to last. */
  async writeTo(open: OpenFile, sink: Sink): Promise<void> {
    const head = Buffer.alloc(this.#dataAt * SECTOR);
    head.set(this.#descriptor(), DESCRIPTOR * SECTOR);
    head.write(END_VERSION, (DESCRIPTOR + 1) * SECTOR, "latin1");
    head.set(this.#pathTable("LE"), PATH_TABLES * SECTOR);
    head.set(this.#pathTable("BE"), (PATH_TABLES + sectors(this.#pathTableSize)) * SECTOR);
    for (const folder of this.#folders) {
      const records = encodeRecords(folder, this.#parents.get(folder) ?? folder, (node) => this.#extentOf(node));
      head.set(records, this.#extentOf(folder).sector * SECTOR);
    }
    await sink(head);
    for (const file of this.#tree.files) {
      const content = await open(file);
      try {
        if (content.length !== file.size) throw new HatchwayError("internal", "a file of the image has another size");
        await sink(content);
      } finally {
        content.fill(0);
      }
      const padding = sectors(file.size) * SECTOR - file.size;
      if (padding > 0) await sink(new Uint8Array(padding));
    }
  }

  /** Decides where everything goes; how many sectors there are. */
  #place(): number {
    let next = PATH_TABLES + 2 * sectors(this.#pathTableSize);
    let folders = 0;
    let files = 0;
    for (const folder of this.#folders) {
      const count = folderSectors(folder);
      this.#extents.set(folder, { sector: next, size: count * SECTOR, name: isoName("D", folders++) });
      next += count;
      for (const node of folder.nodes) {
        if (node.kind === "file") this.#extents.set(node, { sector: 0, size: node.size, name: isoName("F", files++) });
      }
    }
    this.#dataAt = next;
    for (const file of this.#tree.files) {
      this.#extentOf(file).sector = next;
      next += sectors(file.size);
    }
    return next;
  }

  #extentOf(node: ImageNode): Extent {
    const extent = this.#extents.get(node);
    if (!extent) throw new HatchwayError("internal", "a node of the image that has no place in it");
    return extent;
  }

  /** ECMA-119, 9.4: one record for each folder. Before all have their place it is good for its size. */
  #pathTable(endian: "LE" | "BE"): Buffer {
    const numbers = new Map(this.#folders.map((folder, at) => [folder, at + 1]));
    const records = this.#folders.map((folder, at) => {
      const name = at === 0 ? "\0" : isoName("D", at);
      const record = Buffer.alloc(8 + name.length + (name.length % 2));
      record.writeUInt8(name.length, 0);
      const sector = this.#extents.get(folder)?.sector ?? 0;
      const parent = numbers.get(this.#parents.get(folder) ?? folder) ?? 1;
      if (endian === "LE") record.writeUInt32LE(sector, 2);
      else record.writeUInt32BE(sector, 2);
      if (endian === "LE") record.writeUInt16LE(parent, 6);
      else record.writeUInt16BE(parent, 6);
      record.write(name, 8, "latin1");
      return record;
    });
    return Buffer.concat(records);
  }

  /** ECMA-119, 8.4. */
  #descriptor(): Buffer {
    const { root } = this.#tree;
    const { sector, size } = this.#extentOf(root);
    const block = Buffer.alloc(SECTOR);
    block.write(PVD_VERSION, 0, "latin1");
    block.fill(" ", 8, 72);
    block.write(this.#label, 40, "latin1");
    bothEndian32(block, 80, this.size / SECTOR);
    bothEndian16(block, 120, 1);
    bothEndian16(block, 124, 1);
    bothEndian16(block, 128, SECTOR);
    bothEndian32(block, 132, this.#pathTableSize);
    block.writeUInt32LE(PATH_TABLES, 140);
    block.writeUInt32BE(PATH_TABLES + sectors(this.#pathTableSize), 148);
    block.writeUInt8(34, 156);
    bothEndian32(block, 158, sector);
    bothEndian32(block, 166, size);
    block.set(shortDate(root.mtime), 174);
    block.writeUInt8(2, 181);
    bothEndian16(block, 184, 1);
    block.writeUInt8(1, 188);
    block.fill(" ", 190, 813);
    block.set(longDate(root.mtime), 813);
    block.set(longDate(root.mtime), 830);
    block.set(longDate(undefined), 847);
    block.set(longDate(undefined), 864);
    block.writeUInt8(1, 881);
    return block;
  }
}

function sectors(bytes: number): number {
  return Math.ceil(bytes / SECTOR);
}

/** Eight characters and more, so that the order of names is that of numbers. */
function isoName(kind: "D" | "F", number: number): string {
  const digits = String(number).padStart(7, "0");
  return kind === "D" ? `D${digits}` : `F${digits}.;1`;
}
