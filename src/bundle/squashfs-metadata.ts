// Metadata blocks of SquashFS, none of them compressed.

const BLOCK = 8_192;
const HEADER = 2;
/** In the header: what follows is not compressed. */
const UNCOMPRESSED = 0x8000;

/** Where something is in a table. */
export interface Reference {
  /** Bytes from the table's start to the block's header. */
  block: number;
  /** Bytes in the block. */
  offset: number;
}

/** Bytes that a table of `content` bytes takes. */
export function tableSize(content: number): number {
  return content + HEADER * MetadataTable.blocks(content);
}

export class MetadataTable {
  readonly #parts: Buffer[] = [];

  /** What stands `at` bytes behind the start of the content. */
  static reference(at: number): Reference {
    const offset = at % BLOCK;
    return { block: ((at - offset) / BLOCK) * (HEADER + BLOCK), offset };
  }

  static blocks(content: number): number {
    return Math.ceil(content / BLOCK);
  }

  add(part: Buffer): void {
    this.#parts.push(part);
  }

  encode(): Buffer {
    const content = Buffer.concat(this.#parts);
    const table = Buffer.alloc(tableSize(content.length));
    for (let at = 0; at < content.length; at += BLOCK) {
      const block = content.subarray(at, at + BLOCK);
      const { block: start } = MetadataTable.reference(at);
      table.writeUInt16LE(block.length | UNCOMPRESSED, start);
      table.set(block, start + HEADER);
    }
    return table;
  }
}
