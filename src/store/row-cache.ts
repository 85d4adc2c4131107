import type { Row } from "#store";

/** Bytes that an entry costs beside its key and its row: about what V8 spends on a Map entry and a Buffer. */
const ENTRY_COST = 160;

interface Entry {
  version: number;
  bytes: Buffer;
}

/** The rows used last, sealed as they are, up to a number of bytes. Whoever owns it keeps it as new as the store. */
export class RowCache {
  readonly #capacity: number;
  /** In the order of their last use. */
  readonly #entries = new Map<string, Entry>();
  #size = 0;

  /** `capacity` in bytes; 0 keeps nothing. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Copies of the rows of all `keys`, or undefined if one is missing here. */
  getAll(keys: readonly string[]): Row[] | undefined {
    const rows: Row[] = [];
    for (const key of keys) {
      const entry = this.#entries.get(key);
      if (entry === undefined) return undefined;
      rows.push({ key, version: entry.version, bytes: Buffer.from(entry.bytes) });
    }
    for (const key of keys) this.#use(key);
    return rows;
  }

  /** Takes `bytes` over: the caller lets go of them. */
  set(key: string, version: number, bytes: Buffer): void {
    this.delete(key);
    const cost = costOf(key, bytes);
    if (cost > this.#capacity) return;
    this.#entries.set(key, { version, bytes });
    this.#size += cost;
    for (const oldest of this.#entries.keys()) {
      if (this.#size <= this.#capacity) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#size -= costOf(key, entry.bytes);
  }

  clear(): void {
    this.#entries.clear();
    this.#size = 0;
  }

  #use(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }
}

function costOf(key: string, bytes: Buffer): number {
  return ENTRY_COST + key.length + bytes.length;
}
