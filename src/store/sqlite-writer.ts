import { DatabaseSync, type StatementSync } from "node:sqlite";
import { HatchwayError } from "#error";
import { StoreLock } from "./lock.ts";
import { isHarmless, storeError } from "./sqlite-error.ts";
import { type Answer, packError, type WireChange } from "./sqlite-messages.ts";
import { checkPages, checkSchema, isEmpty, makeSchema, REMEMBERED, sizeOf } from "./sqlite-schema.ts";

/** Bytes written to the log (WAL) before it is brought into the database: 4 MiB, SQLite's own default. */
const CHECKPOINT_SIZE = 4_194_304;
/** Bytes that a commit writes to the log beside its rows: a page for each table, and two of the operations' indices. */
const COMMIT_COST = 16_384;

/** Bytes of a store that is checked as a whole before it is opened (16 MiB); a larger one is checked beside its use. */
const CHECKED_SIZE = 16_777_216;

/** The only connection that writes. Synchronous: it lives in a thread of its own. */
export class SqliteWriter {
  readonly epoch: Uint8Array;
  /** Whether every page was looked at. */
  readonly isChecked: boolean;
  readonly #path: string;
  readonly #lock: StoreLock;
  readonly #database: DatabaseSync;
  readonly #statements: ReturnType<typeof prepare>;
  #revision: number;
  #uncheckpointed = 0;

  /** Locks, makes if empty and `create`, and checks the store. Throws HatchwayError. */
  constructor(path: string, create: boolean) {
    this.#path = path;
    this.#lock = new StoreLock(path);
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(path, { timeout: 1_000 });
      const fresh = isEmpty(database);
      this.isChecked = fresh || sizeOf(database) <= CHECKED_SIZE;
      this.epoch = open(database, path, { fresh, create, check: this.isChecked });
      this.#statements = prepare(database);
      this.#revision = (this.#statements.newest.get()?.["revision"] as number | null | undefined) ?? 0;
      this.#database = database;
    } catch (error) {
      database?.close();
      this.#lock[Symbol.dispose]();
      throw storeError(path, error);
    }
  }

  get revision(): number {
    return this.#revision;
  }

  /**
   * Applies changes in one transaction, durable on return: each is applied as a whole or answered with a conflict.
   * What it throws is fatal: whether the transaction is on the disk is not known. After a failed fsync(2) the kernel may
   * call pages clean that never reached the disk, so nothing may be tried again.
   */
  commit(changes: readonly WireChange[]): Answer[] {
    const before = this.#revision;
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      const answers = changes.map((change) => this.#apply(change));
      this.#statements.forget.run(this.#revision - REMEMBERED);
      this.#database.exec("COMMIT");
      return answers;
    } catch (error) {
      if (!isHarmless(error)) throw error;
      this.#revision = before;
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      const refusal = packError(storeError(this.#path, error));
      return changes.map(() => ({ outcome: "refused", error: refusal }));
    }
  }

  get wantsCheckpoint(): boolean {
    return this.#uncheckpointed >= CHECKPOINT_SIZE;
  }

  /** Brings the log into the database. It is asked for, not automatic, so that a commit is answered before it. */
  checkpoint(): void {
    this.#uncheckpointed = 0;
    try {
      this.#database.exec("PRAGMA wal_checkpoint(PASSIVE)");
    } catch (error) {
      if (!isHarmless(error)) throw error;
    }
  }

  close(): void {
    this.#database.close();
    this.#lock[Symbol.dispose]();
  }

  /** Looks at all that could conflict before it writes, so that nothing of a conflicting change needs undoing. */
  #apply(change: WireChange): Answer {
    const { applied, remember, put, remove } = this.#statements;
    const before = applied.get(change.opId)?.["revision"] as number | undefined;
    if (before !== undefined) return { outcome: "repeated", revision: before };
    for (const { key, version } of change.expect) {
      if (this.#version(key) !== version) return { outcome: "conflict", key };
    }
    const versions: number[] = [];
    for (const { key, version } of change.put) {
      const next = this.#version(key) + 1;
      if (version !== undefined && version !== next) return { outcome: "conflict", key };
      versions.push(next);
    }
    for (const { key, version } of change.delete) {
      if (this.#version(key) !== version) return { outcome: "conflict", key };
    }
    this.#uncheckpointed += COMMIT_COST;
    for (const [index, { key, bytes }] of change.put.entries()) {
      put.run(key, versions[index] as number, bytes);
      this.#uncheckpointed += bytes.length;
    }
    for (const { key } of change.delete) remove.run(key);
    this.#revision += 1;
    remember.run(this.#revision, change.opId);
    return { outcome: "applied", revision: this.#revision, versions, bytes: change.put.map(({ bytes }) => bytes) };
  }

  #version(key: string): number {
    return (this.#statements.version.get(key)?.["version"] as number | undefined) ?? 0;
  }
}

function open(
  database: DatabaseSync,
  path: string,
  { fresh, create, check }: { fresh: boolean; create: boolean; check: boolean },
): Uint8Array {
  if (fresh && !create) throw new HatchwayError("corrupt", `store "${path}" is empty: it was never made`);
  // Checked before anything is written: a file that is not a store stays as it is.
  const epoch = fresh ? undefined : checkSchema(database, path);
  if (epoch && check) checkPages(database, path);
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0");
  database.exec(`PRAGMA journal_size_limit = ${CHECKPOINT_SIZE * 4}`);
  // What a killed process wrote to the log may be in the kernel's memory only, and may even have been answered
  // "unknown". It is made durable in the database before anybody reads it.
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  return epoch ?? makeSchema(database);
}

function prepare(database: DatabaseSync): Record<Statement, StatementSync> {
  return {
    newest: database.prepare("SELECT max(revision) AS revision FROM operations"),
    applied: database.prepare("SELECT revision FROM operations WHERE op_id = ?"),
    remember: database.prepare("INSERT INTO operations VALUES (?, ?)"),
    forget: database.prepare("DELETE FROM operations WHERE revision <= ?"),
    version: database.prepare("SELECT version FROM rows WHERE key = ?"),
    put: database.prepare(
      "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET version = excluded.version, bytes = excluded.bytes",
    ),
    remove: database.prepare("DELETE FROM rows WHERE key = ?"),
  };
}

type Statement = "newest" | "applied" | "remember" | "forget" | "version" | "put" | "remove";
