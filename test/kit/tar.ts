// A second writer of tar, apart from protocol/ustar.ts, that can also write what no bundle may hold: each header field
// is the literal text that goes there. The vectors are made with it.

/** The fields of a header as they stand in it, without the NULs that fill them up. */
export interface RawHeader {
  name: string;
  mode: string;
  uid: string;
  gid: string;
  /** The content's own length when absent. */
  size: string;
  mtime: string;
  /** The right one when absent. */
  checksum: string;
  type: string;
  linkname: string;
  magic: string;
  uname: string;
  gname: string;
  devmajor: string;
  devminor: string;
  prefix: string;
  /** The twelve bytes after the prefix. */
  tail: string;
}

const OFFSETS: Record<keyof RawHeader, number> = {
  name: 0,
  mode: 100,
  uid: 108,
  gid: 116,
  size: 124,
  mtime: 136,
  checksum: 148,
  type: 156,
  linkname: 157,
  magic: 257,
  uname: 265,
  gname: 297,
  devmajor: 329,
  devminor: 337,
  prefix: 345,
  tail: 500,
};

const PLAIN: Partial<RawHeader> = {
  mode: "0000600",
  uid: "0000000",
  gid: "0000000",
  mtime: "00000000000",
  type: "0",
  magic: "ustar\u000000",
  devmajor: "0000000",
  devminor: "0000000",
};

/** A number as ustar writes it into a field of `width` bytes. */
export function octal(value: number, width: number): string {
  return value.toString(8).padStart(width - 1, "0");
}

/** Header, content and padding of one file; text is latin1, so that any byte can be said. */
export function tarFile(fields: Partial<RawHeader>, content: Uint8Array | string = ""): Buffer {
  const bytes = Buffer.from(content as string, "latin1");
  const all: Partial<RawHeader> = { ...PLAIN, size: octal(bytes.length, 12), ...fields };
  const block = Buffer.alloc(512);
  for (const [key, text] of Object.entries(all)) block.write(text, OFFSETS[key as keyof RawHeader], "latin1");
  if (all.checksum === undefined) {
    block.fill(" ", 148, 156);
    block.write(`${octal(sum(block), 7)}\0 `, 148, "latin1");
  }
  return Buffer.concat([block, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

/** Files, and the two zero blocks that end them. */
export function tarArchive(...files: Uint8Array[]): Buffer {
  return Buffer.concat([...files, Buffer.alloc(1024)]);
}

function sum(block: Buffer): number {
  return block.reduce((total, byte) => total + byte, 0);
}
