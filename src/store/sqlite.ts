// The store in a SQLite file. This is its side in the main thread, which never calls SQLite: a thread writes, another
// reads (sqlite-worker.ts), so that a disk that hangs in fsync(2) stalls neither this thread nor any reader. A thread in
// such a call cannot be ended, and `process.exit` waits for it: a process that must end then needs SIGKILL.

import { HatchwayError } from "#error";
import { type Change, type CommitResult, MAX_INNER_OPERATIONS, type Page, type Row } from "#store";
import type { Snapshot, Store, WatchEvent } from "#store";
import { ChangeLog } from "./change-log.ts";
import { checkChange, checkKeys, checkListing, checkOpId } from "./change.ts";
import { CommitQueue } from "./commit-queue.ts";
import { StoreCheck } from "./sqlite-check.ts";
import { checkPlace } from "./place.ts";
import { RowCache } from "./row-cache.ts";
import { type Answer, unpackError, unpackRows, type WireChange, type WriterReply } from "./sqlite-messages.ts";
import { Queries } from "./sqlite-queries.ts";
import { SqliteThread } from "./sqlite-thread.ts";

export interface SqliteOptions {
  /** Make the store, and its directory, if there is none. */
  create: boolean;
  /** Milliseconds in which a commit or a read is answered, one way or the other: 2,000. */
  queueDeadlineMs?: number;
  /** Bytes of sealed rows kept in memory: 16 MiB. */
  cacheSize?: number;
  /** Called once when the disk or a thread failed. Every call throws "unavailable" from then on: end the process. */
  onFatal?: (error: HatchwayError) => void;
}

/**
 * Opens the store at `path`, whose only owner is this process until `close`. Throws HatchwayError: "not-found";
 * "locked", if another process has it; "forbidden", if others could get at it; "unsupported", if its format is newer;
 * "corrupt".
 */
export async function openSqliteStore(path: string, options: SqliteOptions): Promise<Store> {
  const { create } = options;
  await checkPlace(path, create);
  const writer = new SqliteThread({ role: "writer", path, create });
  const reader = new SqliteThread({ role: "reader", path, create });
  try {
    const opened = await writer.open();
    await reader.open();
    return new SqliteStore(path, options, opened, writer, reader);
  } catch (error) {
    await Promise.all([writer.terminate(), reader.terminate()]);
    throw error;
  }
}

class SqliteStore implements Store {
  readonly #path: string;
  readonly #epoch: Buffer;
  readonly #writer: SqliteThread<"writer">;
  readonly #reader: SqliteThread<"reader">;
  readonly #queue: CommitQueue;
  readonly #queries: Queries;
  readonly #cache: RowCache;
  readonly #log: ChangeLog;
  readonly #deadlineMs: number;
  readonly #onFatal: (error: HatchwayError) => void;
  /** Reads that saw a commit before its answer came here: they wait for it, so that revisions never go back. */
  #ahead: { revision: number; resume: () => void }[] = [];
  readonly #check: StoreCheck | undefined;
  #failure: HatchwayError | undefined;
  #closing: Promise<void> | undefined;

  constructor(
    path: string,
    options: SqliteOptions,
    opened: WriterReply & { kind: "opened" },
    writer: SqliteThread<"writer">,
    reader: SqliteThread<"reader">,
  ) {
    this.#path = path;
    this.#deadlineMs = options.queueDeadlineMs ?? 2_000;
    this.#onFatal = options.onFatal ?? (() => undefined);
    this.#epoch = Buffer.from(opened.epoch);
    this.#cache = new RowCache(options.cacheSize ?? 16_777_216);
    this.#log = new ChangeLog(opened.revision);
    this.#writer = writer;
    this.#reader = reader;
    this.#queue = new CommitQueue(this.#deadlineMs, (changes) => {
      writer.say(
        { kind: "commit", changes },
        changes.flatMap(({ put }) => (put[0] ? [put[0].bytes.buffer] : [])),
      );
    });
    this.#queries = new Queries(reader, this.#deadlineMs);
    const lost = (error: HatchwayError) => this.#fail(error);
    writer.listen((reply) => this.#heard(reply), lost);
    reader.listen((reply) => this.#queries.answered(reply), lost);
    if (!opened.isChecked) this.#check = new StoreCheck(path, (error) => this.#fail(error));
  }

  async epoch(): Promise<Buffer> {
    this.#mustBeOpen();
    return Buffer.from(this.#epoch);
  }

  async revision(): Promise<number> {
    this.#mustBeOpen();
    return this.#log.revision;
  }

  async read(keys: readonly string[]): Promise<Snapshot> {
    this.#mustBeOpen();
    checkKeys(keys);
    const cached = this.#cache.getAll(keys);
    if (cached !== undefined) return { revision: this.#log.revision, rows: cached };
    const reply = await this.#queries.ask({ kind: "read", keys });
    if (reply.kind !== "rows") throw unexpected(reply.kind);
    await this.#reached(reply.revision);
    const rows = unpackRows(reply.rows);
    for (const row of rows) if (row !== undefined) this.#remember(row, reply.revision);
    return { revision: reply.revision, rows };
  }

  async list(prefix: string, { after, limit }: { after?: string; limit: number }): Promise<Page> {
    this.#mustBeOpen();
    checkListing(prefix, after, limit);
    const reply = await this.#queries.ask({ kind: "list", prefix, after, limit });
    if (reply.kind !== "page") throw unexpected(reply.kind);
    await this.#reached(reply.revision);
    const rows = unpackRows(reply.rows).filter((row) => row !== undefined);
    return { revision: reply.revision, rows, more: reply.more };
  }

  async commit(change: Change): Promise<CommitResult> {
    this.#mustBeOpen();
    checkChange(change, MAX_INNER_OPERATIONS);
    return this.#queue.push(copyOf(change));
  }

  async committed(opId: string): Promise<number | undefined> {
    this.#mustBeOpen();
    checkOpId(opId);
    if (this.#queue.isUnderWay(opId)) {
      throw new HatchwayError("unavailable", `operation "${opId}" is under way in store "${this.#path}"`);
    }
    const reply = await this.#queries.ask({ kind: "committed", opId });
    if (reply.kind !== "operation") throw unexpected(reply.kind);
    if (reply.revision !== undefined) await this.#reached(reply.revision);
    return reply.revision;
  }

  watch(from: number, listener: (event: WatchEvent) => void): () => void {
    this.#mustBeOpen();
    return this.#log.watch(from, listener);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.#within(this.#queue.idle());
      await this.#within(this.#failure === undefined ? this.#finish() : this.#abandon());
    } catch (error) {
      // The threads end when the disk answers, and keep the process no longer than that.
      void this.#abandon();
      throw error;
    } finally {
      this.#letGo();
    }
  }

  /** The reader first: the last connection to be closed brings the log into the database. */
  async #finish(): Promise<void> {
    this.#reader.say({ kind: "close" });
    await this.#reader.ended;
    this.#writer.say({ kind: "close" });
    await this.#writer.ended;
  }

  /** The writer first: then it is not the last, and nothing is written to a disk that failed. */
  async #abandon(): Promise<void> {
    await this.#writer.terminate();
    await this.#reader.terminate();
  }

  #letGo(): void {
    this.#check?.stop();
    this.#log.close();
    this.#cache.clear();
  }

  async #within(work: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const message = `store "${this.#path}" cannot be closed: its disk did not answer within ${this.#deadlineMs} ms`;
        reject(new HatchwayError("unavailable", message));
      }, this.#deadlineMs);
    });
    try {
      await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #heard(reply: WriterReply): void {
    switch (reply.kind) {
      case "done":
        this.#queue.answered(reply.answers, (change, answer) => this.#applied(change, answer));
        this.#resume();
        if (reply.ready) this.#queue.ready();
        return;
      case "ready":
        return this.#queue.ready();
      case "fatal":
        return this.#fail(unpackError(reply.error));
      case "opened":
      case "refused":
        return this.#fail(unexpected(reply.kind));
    }
  }

  #applied(change: WireChange, { revision, versions, bytes }: Answer & { outcome: "applied" }): void {
    for (const [index, { key }] of change.put.entries()) {
      const row = bytes[index];
      if (row !== undefined) this.#keep(key, versions[index] ?? 0, row);
    }
    for (const { key } of change.delete) this.#cache.delete(key);
    const made = this.#log.append([...change.put, ...change.delete].map(({ key }) => key));
    if (made !== revision) this.#fail(unexpected(`revision ${revision} after ${made - 1}`));
  }

  /** Keeps a copy of what a read at `revision` found, unless it was written since. */
  #remember({ key, version, bytes }: Row, revision: number): void {
    if (this.#log.changedSince(revision, key)) return;
    this.#keep(key, version, bytes);
  }

  /** A copy, since the bytes lie among others. */
  #keep(key: string, version: number, bytes: Uint8Array): void {
    const copy = Buffer.allocUnsafeSlow(bytes.length);
    copy.set(bytes);
    this.#cache.set(key, version, copy);
  }

  /** Resolves when the answers of all commits up to `revision` are here; they are on their way. */
  async #reached(revision: number): Promise<void> {
    if (revision > this.#log.revision && this.#failure === undefined) {
      await new Promise<void>((resume) => this.#ahead.push({ revision, resume }));
    }
    if (this.#failure !== undefined) throw this.#unavailable(this.#failure);
  }

  #resume(): void {
    const reached = this.#ahead.filter(({ revision }) => revision <= this.#log.revision);
    this.#ahead = this.#ahead.filter(({ revision }) => revision > this.#log.revision);
    for (const { resume } of reached) resume();
  }

  #fail(error: HatchwayError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    const refusal = this.#unavailable(error);
    this.#queue.fail(refusal);
    this.#queries.fail(refusal);
    for (const { resume } of this.#ahead.splice(0)) resume();
    this.#letGo();
    this.#onFatal(error);
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined) throw new HatchwayError("unavailable", `store "${this.#path}" is closed`);
    if (this.#failure !== undefined) throw this.#unavailable(this.#failure);
  }

  #unavailable(cause: HatchwayError): HatchwayError {
    return new HatchwayError("unavailable", `store "${this.#path}" has failed: ${cause.message}`, { cause });
  }
}

/**
 * The caller may wipe its bytes as soon as `commit` has returned; the copies, end to end in one piece of memory, are moved
 * to the writer and back.
 */
function copyOf(change: Change): WireChange {
  const all = new Uint8Array(change.put.reduce((size, { bytes }) => size + bytes.length, 0));
  let end = 0;
  const copy = (bytes: Buffer): Uint8Array<ArrayBuffer> => {
    all.set(bytes, end);
    end += bytes.length;
    return all.subarray(end - bytes.length, end);
  };
  return {
    opId: change.opId,
    expect: change.expect.map(({ key, version }) => ({ key, version })),
    put: change.put.map(({ key, version, bytes }) => ({ key, version, bytes: copy(bytes) })),
    delete: change.delete.map(({ key, version }) => ({ key, version })),
  };
}

function unexpected(what: string): HatchwayError {
  return new HatchwayError("internal", "internal error", { cause: new Error(`the store's thread said "${what}"`) });
}
