import { randomBytes } from "node:crypto";
import { HatchwayError } from "#error";
import { type Change, type CommitResult, MAX_INNER_OPERATIONS, MAX_PAGE_SIZE, type Page, type Row } from "#store";
import type { Snapshot, Store, WatchEvent } from "#store";
import { ChangeLog } from "./change-log.ts";
import { checkChange, checkKeys, checkListing, checkOpId } from "./change.ts";

/** Operations that are remembered. */
const REMEMBERED = 10_000;

/**
 * What can happen to a commit on its way to a real disk or across a network:
 * - `conflict`: somebody else was first; nothing is done.
 * - `unknown-applied`, `unknown-lost`: no answer came; it was done, or was not.
 * - `unavailable`: refused, nothing is done.
 * - `reset`: it is done, but watchers only learn that they missed something.
 */
export type Fault = "conflict" | "unknown-applied" | "unknown-lost" | "unavailable" | "reset";

/** Faults that befall the next commits, one each, in order. */
export class Faults {
  readonly #planned: Fault[] = [];

  next(fault: Fault): void {
    this.#planned.push(fault);
  }

  take(): Fault | undefined {
    return this.#planned.shift();
  }
}

/** A store that ends with its process: for ephemeral secrets, and with `faults` for tests of what stands on a store. */
export function openMemoryStore(options: { faults?: Faults } = {}): Store {
  return new MemoryStore(options.faults ?? new Faults());
}

class MemoryStore implements Store {
  readonly #faults: Faults;
  readonly #epoch = randomBytes(16);
  readonly #rows = new Map<string, { version: number; bytes: Buffer }>();
  readonly #operations = new Map<string, number>();
  readonly #log = new ChangeLog(0);
  #closed = false;

  constructor(faults: Faults) {
    this.#faults = faults;
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
    return { revision: this.#log.revision, rows: keys.map((key) => this.#row(key)) };
  }

  async list(prefix: string, { after, limit }: { after?: string; limit: number }): Promise<Page> {
    this.#mustBeOpen();
    checkListing(prefix, after, limit);
    const keys = [...this.#rows.keys()]
      .filter((key) => key.startsWith(prefix) && (after === undefined || key > after))
      .sort();
    const rows: Row[] = [];
    let size = 0;
    for (const key of keys) {
      const row = this.#row(key);
      if (row === undefined) continue;
      size += row.bytes.length;
      if (rows.length === limit || (size > MAX_PAGE_SIZE && rows.length > 0)) break;
      rows.push(row);
    }
    return { revision: this.#log.revision, rows, more: rows.length < keys.length };
  }

  async commit(change: Change): Promise<CommitResult> {
    this.#mustBeOpen();
    checkChange(change, MAX_INNER_OPERATIONS);
    const fault = this.#faults.take();
    if (fault === "unavailable") throw new HatchwayError("unavailable", "the store is not available");
    if (fault === "unknown-lost") return { outcome: "unknown" };
    if (fault === "conflict") return { outcome: "conflict", key: firstKey(change) };
    const result = this.#apply(change);
    if (fault === "reset") this.#log.reset();
    return fault === "unknown-applied" ? { outcome: "unknown" } : result;
  }

  async committed(opId: string): Promise<number | undefined> {
    this.#mustBeOpen();
    checkOpId(opId);
    return this.#operations.get(opId);
  }

  watch(from: number, listener: (event: WatchEvent) => void): () => void {
    this.#mustBeOpen();
    return this.#log.watch(from, listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#rows.clear();
    this.#log.close();
  }

  #apply(change: Change): CommitResult {
    const before = this.#operations.get(change.opId);
    if (before !== undefined) return { outcome: "ok", revision: before };
    const conflict = this.#conflict(change);
    if (conflict !== undefined) return { outcome: "conflict", key: conflict };
    for (const { key, bytes } of change.put) {
      this.#rows.set(key, { version: this.#version(key) + 1, bytes: Buffer.from(bytes) });
    }
    for (const { key } of change.delete) this.#rows.delete(key);
    const revision = this.#log.append([...change.put, ...change.delete].map(({ key }) => key));
    this.#operations.set(change.opId, revision);
    if (this.#operations.size > REMEMBERED) {
      for (const oldest of this.#operations.keys()) {
        this.#operations.delete(oldest);
        break;
      }
    }
    return { outcome: "ok", revision };
  }

  #conflict(change: Change): string | undefined {
    for (const { key, version } of change.expect) if (this.#version(key) !== version) return key;
    for (const { key, version } of change.put) {
      if (version !== undefined && this.#version(key) !== version - 1) return key;
    }
    for (const { key, version } of change.delete) if (this.#version(key) !== version) return key;
    return undefined;
  }

  #version(key: string): number {
    return this.#rows.get(key)?.version ?? 0;
  }

  #row(key: string): Row | undefined {
    const row = this.#rows.get(key);
    return row && { key, version: row.version, bytes: Buffer.from(row.bytes) };
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new HatchwayError("unavailable", "the store is closed");
  }
}

function firstKey(change: Change): string {
  return (change.expect[0] ?? change.put[0] ?? change.delete[0])?.key ?? "";
}
