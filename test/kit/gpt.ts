// A disk of many partitions, by a GUID partition table (UEFI specification, chapter 5), for guests that are to find one of
// many images.
import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";

const SECTOR = 512;
const ENTRY = 128;
/** Where the first partition begins and what each begins at a multiple of, in sectors. */
const ALIGNMENT = 128;
/** "Linux filesystem data", as its bytes stand in a table. */
const LINUX = Buffer.from("af3dc60f838472478e793d69d8477de4", "hex");

/** The images as partitions 1, 2, … of one disk. */
export function partitionedDisk(images: readonly Buffer[]): Buffer {
  const entries = Buffer.alloc(Math.ceil(Math.max(images.length, 128) / 4) * SECTOR);
  let next = Math.ceil((2 + entries.length / SECTOR) / ALIGNMENT) * ALIGNMENT;
  const first = next;
  const parts = images.map((image, at) => {
    const sectors = Math.ceil(image.length / SECTOR);
    const room = Math.ceil(sectors / ALIGNMENT) * ALIGNMENT;
    const entry = entries.subarray(at * ENTRY, (at + 1) * ENTRY);
    entry.set(LINUX);
    entry.set(randomBytes(16), 16);
    entry.writeBigUInt64LE(BigInt(next), 32);
    entry.writeBigUInt64LE(BigInt(next + sectors - 1), 40);
    next += room;
    return Buffer.concat([image, Buffer.alloc(room * SECTOR - image.length)]);
  });
  const entrySectors = entries.length / SECTOR;
  const last = next + entrySectors;
  const guid = randomBytes(16);
  const header = (own: number, other: number, table: number): Buffer => {
    const block = Buffer.alloc(SECTOR);
    block.write("EFI PART", "latin1");
    block.writeUInt32LE(0x10000, 8);
    block.writeUInt32LE(92, 12);
    [own, other, first, next - 1].forEach((sector, at) => block.writeBigUInt64LE(BigInt(sector), 24 + 8 * at));
    block.set(guid, 56);
    block.writeBigUInt64LE(BigInt(table), 72);
    block.writeUInt32LE(entries.length / ENTRY, 80);
    block.writeUInt32LE(ENTRY, 84);
    block.writeUInt32LE(crc32(entries), 88);
    block.writeUInt32LE(crc32(block.subarray(0, 92)), 16);
    return block;
  };
  const protective = Buffer.alloc(SECTOR);
  protective.writeUInt8(0xee, 450);
  protective.writeUInt32LE(1, 454);
  protective.writeUInt32LE(last, 458);
  protective.writeUInt16BE(0x55aa, 510);
  const start = Buffer.concat([protective, header(1, last, 2), entries]);
  const padding = Buffer.alloc(first * SECTOR - start.length);
  return Buffer.concat([start, padding, ...parts, entries, header(last, 1, next)]);
}
