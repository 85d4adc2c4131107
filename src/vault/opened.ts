import type { Row } from "#store";

/** Bytes of sealed rows whose records are kept, at most: 12 MiB. Parsed they take about twice as much. */
const CAPACITY = 12_582_912;
/** Bytes that an entry costs beside its row. */
const ENTRY_COST = 256;

interface Opened {
  bytes: Buffer;
  version: number;
  record: unknown;
}

/**
 * The records that were opened last: a row that comes again, byte for byte, need not be opened again. Metadata only,
 * never values. What is kept is frozen, since all who ask get the same.
 */
export class OpenedRecords {
  /** In the order in which they were opened. */
  readonly #entries = new Map<string, Opened>();
  #size = 0;

  /** The record of exactly this row; undefined where it is not known. */
  get({ key, version, bytes }: Row): { record: unknown } | undefined {
    const entry = this.#entries.get(key);
    return entry?.version === version && entry.bytes.equals(bytes) ? entry : undefined;
  }

  /** Takes `record` over. */
  keep({ key, version, bytes }: Row, record: unknown): void {
    this.#delete(key);
    this.#entries.set(key, { bytes: Buffer.from(bytes), version, record: frozen(record) });
    this.#size += bytes.length + ENTRY_COST;
    for (const oldest of this.#entries.keys()) {
      if (this.#size <= CAPACITY) break;
      this.#delete(oldest);
    }
  }

  /** The same for one of many, which must not cost those that are asked for one by one their place. */
  offer(row: Row, record: unknown): void {
    if (this.#size + row.bytes.length + ENTRY_COST <= CAPACITY) this.keep(row, record);
  }

  #delete(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#size -= entry.bytes.length + ENTRY_COST;
  }
}

function frozen(record: unknown): unknown {
  if (typeof record === "object" && record !== null) {
    for (const part of Object.values(record)) frozen(part);
    Object.freeze(record);
  }
  return record;
}
