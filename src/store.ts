/**
 * Where rows are kept. A store sees opaque keys and sealed bytes; what they mean is the vault's business. Everything is
 * async and nothing of SQL or of a synchronous transaction leaks out, so that a store across a network fits as well.
 * Each implementation passes `describeStore` (test/kit/store-conformance.ts).
 */
export interface Store {
  /**
   * 16 random bytes, made with the store and made anew when it is restored from a backup. No revision of one epoch
   * means anything in another.
   */
  epoch(): Promise<Buffer>;

  /** The revision of the newest commit; 0 for an empty store. */
  revision(): Promise<number>;

  /**
   * Rows of `keys` in the same order, undefined where there is none, all as of one revision: that of the answer.
   * The bytes are the caller's to keep.
   */
  read(keys: readonly string[]): Promise<Snapshot>;

  /**
   * Rows whose key starts with `prefix`, in the order of their keys' bytes, at most `limit` (1 to 10,000) and only
   * those after the key `after`. A page ends early, with `more`, before the row that would bring it over 16 MiB. Pages
   * of one listing may be of different revisions; each row is of the revision of its page.
   */
  list(prefix: string, options: { after?: string; limit: number }): Promise<Page>;

  /**
   * Does all of `change` or nothing. Resolves when it is durable: an acknowledged commit survives power loss.
   *
   * - `ok`: done, at `revision`.
   * - `conflict`: the row of `key` has another version than the change says; nothing was done.
   * - `unknown`: the store could not say. Ask `committed(opId)` later; the same opId is never applied twice: a change
   *   whose opId was applied before is `ok` with the revision of then, whatever else it says.
   *
   * Throws HatchwayError "unavailable" when nothing was done and trying later may help (a disk that hangs past the
   * queue's deadline), "invalid" for a change that breaks the limits below or writes a row twice. A change without
   * operations is one like any other.
   */
  commit(change: Change): Promise<CommitResult>;

  /**
   * The revision at which `opId` was applied, or undefined. Remembered for the newest 10,000 operations at least.
   * Throws "unavailable" while that very operation is under way, since it may be applied yet.
   */
  committed(opId: string): Promise<number | undefined>;

  /**
   * Calls `listener` with the keys of each commit after `from`, in order, from now on. `reset` says that some may have
   * been missed: read again what matters; the changes after it follow. Never calls back before `watch` has returned.
   * The returned function ends it, also from within `listener`.
   */
  watch(from: number, listener: (event: WatchEvent) => void): () => void;

  /**
   * Finishes what is under way and lets go. Other calls after it throw "unavailable"; closing again does nothing.
   * Throws "unavailable" itself when the disk lets nothing finish.
   */
  close(): Promise<void>;
}

export interface Row {
  key: string;
  /** How often this row has been written since it was made: 1, 2, … A row that is deleted and made again has 1. */
  version: number;
  bytes: Buffer;
}

export interface Snapshot {
  revision: number;
  rows: (Row | undefined)[];
}

export interface Page {
  revision: number;
  rows: Row[];
  /** Whether there are more after the last. */
  more: boolean;
}

export interface Change {
  /** Names this operation for `committed`: 1 to 64 of [A-Za-z0-9-], never used for another. */
  opId: string;
  /** Rows that must have these versions before the change; 0: there must be no such row. */
  expect: readonly { key: string; version: number }[];
  /**
   * `version` is the one that the row gets: it must have the one before now (1: there must be none). Without it the row
   * is written whatever it was. The bytes are copied before `commit` returns.
   */
  put: readonly { key: string; version?: number; bytes: Buffer }[];
  /** `version` is the one that the row must have now. */
  delete: readonly { key: string; version: number }[];
}

export type CommitResult =
  | { outcome: "ok"; revision: number }
  | { outcome: "conflict"; key: string }
  | { outcome: "unknown" };

export type WatchEvent = { kind: "changes"; revision: number; keys: readonly string[] } | { kind: "reset" };

/** Puts, deletes and expectations of one change, at most. */
export const MAX_OPERATIONS = 128;
/** The same of a change that a store hands on to the one under it, with rows of its own beside the caller's. */
export const MAX_INNER_OPERATIONS = 1_024;
/** Rows of one page, at most. */
export const MAX_LIST = 10_000;
/** Bytes of one page's rows, at most, unless its first row alone has more (16 MiB). */
export const MAX_PAGE_SIZE = 16_777_216;
/** Bytes of a key (printable ASCII), at most. */
export const MAX_KEY_SIZE = 255;
/** Bytes of a row, at most: a value of 1 MiB, sealed, or a manifest's ledger of 4,096 entries. */
export const MAX_ROW_SIZE = 2_097_152;
