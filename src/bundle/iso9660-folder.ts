// The records of an ISO 9660 folder (ECMA-119, 9.1), each with its Rock Ridge fields (IEEE P1282):
//
//   SP   in the root's `.` only: such fields are in use
//   ER   there too: and these are Rock Ridge's
//   PX   mode, links, uid, gid
//   TF   when it was changed
//   NM   its name
import { bothEndian16, bothEndian32, shortDate } from "#bundle/iso9660-numbers";
import type { ImageFolder, ImageNode } from "#bundle/tree";

export const SECTOR = 2_048;
const RECORD = 33;
const IS_FOLDER = 2;
const PX = 36;
const TF = 12;
const NM = 5;
const EXTENSION = "RRIP_1991A";

/** Where a node's content is, and its name without Rock Ridge. */
export interface Extent {
  sector: number;
  /** Bytes. */
  size: number;
  name: string;
}

/** A name of the format's own has 8 characters for a folder, 11 for a file. */
const OWN_NAME = { folder: 8, file: 11 };

/** Sectors of a folder: no record crosses from one into the next. */
export function folderSectors(folder: ImageFolder): number {
  let full = 0;
  let used = sizeOf(1, specialFields(folder)) + sizeOf(1, PX + TF);
  for (const { kind, name } of folder.nodes) {
    const size = sizeOf(OWN_NAME[kind], PX + TF + NM + name.length);
    if (used + size > SECTOR) {
      full += 1;
      used = 0;
    }
    used += size;
  }
  return full + 1;
}

/** `locate` gives the extent of a node. */
export function encodeRecords(folder: ImageFolder, parent: ImageFolder, locate: (node: ImageNode) => Extent): Buffer {
  const content = Buffer.alloc(folderSectors(folder) * SECTOR);
  let at = 0;
  const add = (record: Buffer): void => {
    if ((at % SECTOR) + record.length > SECTOR) at = Math.ceil(at / SECTOR) * SECTOR;
    content.set(record, at);
    at += record.length;
  };
  const special = folder.name === "" ? [useField(), extensionField()] : [];
  add(encodeRecord("\0", folder, locate(folder), [...special, ...posixFields(folder)]));
  add(encodeRecord("\u0001", parent, locate(parent), posixFields(parent)));
  // By ISO 9660's own names, which are numbered in the order of the real ones.
  const nodes = folder.nodes.map((node) => ({ node, extent: locate(node) }));
  for (const { node, extent } of nodes.toSorted((a, b) => (a.extent.name < b.extent.name ? -1 : 1))) {
    add(encodeRecord(extent.name, node, extent, [...posixFields(node), nameField(node.name)]));
  }
  return content;
}

function sizeOf(name: number, fields: number): number {
  const size = RECORD + name + ((RECORD + name) % 2) + fields;
  return size + (size % 2);
}

function specialFields({ name }: ImageFolder): number {
  return PX + TF + (name === "" ? useField().length + extensionField().length : 0);
}

function encodeRecord(name: string, node: ImageNode, { sector, size }: Extent, fields: Buffer[]): Buffer {
  const all = Buffer.concat(fields);
  const record = Buffer.alloc(sizeOf(name.length, all.length));
  record.writeUInt8(record.length, 0);
  bothEndian32(record, 2, sector);
  bothEndian32(record, 10, size);
  record.set(shortDate(node.mtime), 18);
  record.writeUInt8(node.kind === "folder" ? IS_FOLDER : 0, 25);
  bothEndian16(record, 28, 1);
  record.writeUInt8(name.length, 32);
  record.write(name, RECORD, "latin1");
  record.set(all, RECORD + name.length + ((RECORD + name.length) % 2));
  return record;
}

function field(signature: string, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from(signature), Buffer.from([4 + content.length, 1]), content]);
}

/** SUSP, 5.3. */
function useField(): Buffer {
  return field("SP", Buffer.from([0xbe, 0xef, 0]));
}

/** SUSP, 5.5: the extension's name, without words about it. */
function extensionField(): Buffer {
  return field("ER", Buffer.concat([Buffer.from([EXTENSION.length, 0, 0, 1]), Buffer.from(EXTENSION)]));
}

/** RRIP, 4.1.1 and 4.1.6, the time of modification alone. */
function posixFields(node: ImageNode): Buffer[] {
  const isFile = node.kind === "file";
  const posix = Buffer.alloc(32);
  bothEndian32(posix, 0, (isFile ? 0o100000 : 0o040000) | node.mode);
  bothEndian32(posix, 8, isFile ? 1 : 2 + node.nodes.filter(({ kind }) => kind === "folder").length);
  bothEndian32(posix, 16, isFile ? node.uid : 0);
  bothEndian32(posix, 24, isFile ? node.gid : 0);
  return [field("PX", posix), field("TF", Buffer.concat([Buffer.from([2]), shortDate(node.mtime)]))];
}

/** RRIP, 4.1.4: all of the name in one field. */
function nameField(name: string): Buffer {
  return field("NM", Buffer.concat([Buffer.from([0]), Buffer.from(name)]));
}
