import { HatchwayError } from "#error";
import type { Row, Store } from "#store";

/** Bytes of sealed rows that are held in memory, at most (64 MiB). */
const MOST = 67_108_864;

/**
 * The rows of values that a reader will still come to, sealed as they are: where one is about to be deleted it is kept
 * here. Until it is known which ones are needed, all are.
 */
export class KeptRows {
  readonly #store: Store;
  readonly #rows = new Map<string, Row>();
  #needed: Set<string> | undefined;
  #size = 0;
  #full = false;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Only these are needed from now on. */
  need(keys: Iterable<string>): void {
    this.#needed = new Set(keys);
    for (const key of this.#rows.keys()) if (!this.#needed.has(key)) this.#drop(key);
  }

  /** To be called, and awaited, before rows are deleted. */
  async keep(keys: readonly string[]): Promise<void> {
    const mine = keys.filter((key) => key.startsWith("value:") && (this.#needed?.has(key) ?? true));
    for (const key of mine) {
      if (this.#full || this.#rows.has(key)) continue;
      const [row] = (await this.#store.read([key])).rows;
      if (!row) continue;
      this.#size += row.bytes.length;
      this.#rows.set(key, row);
      // What is deleted is not held up; it is the reader who can't go on.
      if (this.#size > MOST) this.#full = true;
    }
  }

  /** The row, kept or still in the store; it is not needed any more. Throws "conflict" where it could not be kept. */
  async take(key: string): Promise<Row | undefined> {
    const row = (await this.#store.read([key])).rows[0] ?? this.#rows.get(key);
    this.#needed?.delete(key);
    this.#drop(key);
    if (row || !this.#full) return row;
    throw new HatchwayError("conflict", "more was removed meanwhile than can be held back", {
      hint: "try again when less is being written",
    });
  }

  #drop(key: string): void {
    this.#size -= this.#rows.get(key)?.bytes.length ?? 0;
    this.#rows.delete(key);
  }
}
