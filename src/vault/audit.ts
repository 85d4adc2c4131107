// The audit trail: one JSON object a line, only the fields below, each line chained to the one before.
//
//   {"seq":7,"time":"2026-01-31T12:00:00.000Z","phase":"intent","op":"secret.update","opId":"…","caller":"unix:uid=0,…",
//    "secret":"db","version":3,"vm":"web-1","revision":9,"outcome":"ok","mac":"64 hex"}
//
// `mac` is HMAC-SHA256 under the audit key over the MAC of the line before (32 bytes; zero for the first) and the line
// as it stands without `,"mac":"…"`. The anchor, kept in the store with every mutation, says from where on there are
// operations still open and what the newest line was: a file that ends before it, or differs, was cut or edited.
import { writeSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { Clock } from "#clock";
import { HatchwayError } from "#error";
import { errnoText } from "#host/files";
import { checkTrail, encodeLine } from "#vault/audit-chain";
import { endOf, openFile, rotate, segmentsOf, type Segment } from "#vault/audit-files";
import type { Key } from "#vault/envelope";
import { GroupSync } from "#vault/group-sync";

export interface AuditFields {
  op: string;
  opId: string;
  caller: string;
  secret?: string;
  version?: number;
  vm?: string;
  /** A way to the root key; of a backup, who can open it. */
  way?: string;
  /** Of the store, with what the operation did: a store that does not reach it is older than this line. */
  revision?: number;
  /** Closed words only: "ok", an error's code, or how start-up resolved it. */
  outcome?: string;
}

export interface AuditLine extends AuditFields {
  seq: number;
  time: string;
  phase: "intent" | "outcome";
  mac: string;
}

/** A place in the trail: the line that ends at byte `offset`, through all files, has `seq` and `mac`. */
export interface AuditPosition {
  offset: number;
  seq: number;
  mac: string;
}

export interface AuditAnchor {
  /** All operations that began before here have their outcome. */
  settled: AuditPosition;
  newest: AuditPosition;
  /** The edition of the keyring that the store was last written with; absent, and 0, in an older store. */
  keyring?: number;
}

/** A trail that holds, and what its last lines say of the store. */
export interface OpenedAudit {
  audit: Audit;
  /** Intents without an outcome: whether they were done, the store knows. */
  open: AuditLine[];
  /** Outcomes after the anchor of changes that were made: the store must have them. */
  done: AuditLine[];
  /** The end of an older part, if it is long: it was not looked at. */
  older?: AuditPosition;
}

/** Milliseconds after which a line is on disk that nobody waits for. */
const SYNC_DELAY = 100;
/** Bytes after which the file is put aside and another begun (64 MiB). */
const FULL = 67_108_864;

export interface AuditOptions {
  /** Bytes after which another file is begun. */
  full?: number;
  clock?: Clock;
}

interface Waiting {
  line: Buffer;
  /** The trail's end once this is written. */
  end: AuditPosition;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export class Audit {
  readonly path: string;
  readonly #key: Key;
  readonly #full: number;
  readonly #clock: Clock;
  #file: FileHandle;
  /** The trail's offset of the file's first byte. */
  #start: number;
  /** The end once all that is queued is written; what is written; what is on disk. */
  #position: AuditPosition;
  #written: AuditPosition;
  #synced: AuditPosition;
  readonly #open = new Map<string, AuditPosition>();
  readonly #listeners = new Set<() => void>();
  #queue: Waiting[] = [];
  #writing: Promise<void> | undefined;
  readonly #syncs = new GroupSync(() => this.#sync());
  #syncTimer: NodeJS.Timeout | undefined;
  #failure: HatchwayError | undefined;
  #syncFailed: (error: HatchwayError) => void = () => undefined;

  private constructor(
    path: string,
    file: FileHandle,
    start: number,
    key: Key,
    position: AuditPosition,
    { full, clock }: Required<AuditOptions>,
  ) {
    this.#clock = clock;
    this.path = path;
    this.#file = file;
    this.#start = start;
    this.#key = key;
    this.#full = full;
    this.#position = position;
    this.#written = position;
    this.#synced = position;
  }

  /**
   * Opens the trail and checks it, but for the older part of a long one. A last line without its newline was never
   * acknowledged and is cut off. Throws "corrupt" if the trail is not what was written, "unavailable" if it cannot be
   * opened.
   */
  static async open(
    path: string,
    key: Key,
    anchor: AuditAnchor | undefined,
    { full = FULL, clock = new Clock() }: AuditOptions = {},
  ): Promise<OpenedAudit> {
    const file = await openFile(path);
    try {
      const segments = await segmentsOf(path);
      const { lines, end, time, from } = await checkTrail(segments, path, key, anchor);
      if (time !== undefined) clock.was(Date.parse(time));
      const first = segments.at(-1)?.start ?? 0;
      if (endOf(segments) > end.offset) await file.truncate(end.offset - first);
      // An earlier process may have ended between writing and syncing.
      if (end.offset > 0) await file.datasync();
      const intents = new Set(lines.filter(({ phase }) => phase === "intent").map(({ opId }) => opId));
      const outcomes = lines.filter(({ phase, opId }) => phase === "outcome" && intents.has(opId));
      const settled = new Set(outcomes.map(({ opId }) => opId));
      return {
        audit: new Audit(path, file, first, key, end, { full, clock }),
        open: lines.filter(({ phase, opId }) => phase === "intent" && !settled.has(opId)),
        done: outcomes.filter(({ seq, outcome }) => outcome === "ok" && seq > (anchor?.newest.seq ?? 0)),
        ...(from && { older: from }),
      };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Where start-up will have to begin, were the process to end now. */
  get anchor(): AuditAnchor {
    let settled = this.#synced;
    for (const position of this.#open.values()) if (position.seq < settled.seq) settled = position;
    return { settled, newest: this.#synced };
  }

  /** Milliseconds since 1970: what a line would say now. No line, and nothing that it is about, says less after it. */
  now(): number {
    return this.#clock.now();
  }

  /** The end of what is in the files. */
  get written(): AuditPosition {
    return this.#written;
  }

  /** The files as they are now, for reading. */
  async segments(): Promise<Segment[]> {
    for (;;) {
      const start = this.#start;
      const segments = await segmentsOf(this.path);
      if (start === this.#start) return segments;
    }
  }

  /** Calls `listener` after each write. The returned function ends it. */
  onWritten(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Calls `listener` when the disk did not take what was written: after a failed fsync(2) the kernel may call lines
   * written that never reached the disk, and nobody may build on them.
   */
  onSyncFailed(listener: (error: HatchwayError) => void): void {
    this.#syncFailed = listener;
  }

  /** Writes an intent; resolves once it is on disk (`durable`) or written. Nothing may be done before that. */
  async intent(fields: AuditFields, durable: boolean): Promise<void> {
    this.#open.set(fields.opId, this.#position);
    try {
      await this.#append("intent", [fields], durable);
    } catch (error) {
      this.#open.delete(fields.opId);
      throw error;
    }
  }

  /** Writes how an operation ended. */
  async outcome(fields: AuditFields): Promise<void> {
    await this.#append("outcome", [fields], false);
    this.#open.delete(fields.opId);
  }

  /** Lines that need no outcome: a refusal, or values that leave. One write for all. */
  async record(lines: readonly AuditFields[], durable: boolean): Promise<void> {
    if (lines.length > 0) await this.#append("outcome", lines, durable);
  }

  /** Resolves once all that was written before is on disk, or cannot be. */
  async settle(): Promise<void> {
    clearTimeout(this.#syncTimer);
    this.#syncTimer = undefined;
    await this.#syncAll();
  }

  async close(): Promise<void> {
    await this.settle();
    await this.#file.close();
  }

  #append(phase: "intent" | "outcome", all: readonly AuditFields[], durable: boolean): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    const line = Buffer.concat(all.map((fields) => this.#encode(phase, fields)));
    const written = this.#put(line, this.#position);
    return durable ? written.then(() => this.#durable()) : written;
  }

  /**
   * Writes a line at the trail's end. This thread does it itself while no sync is under way, which spares the way through
   * another one, 2 µs instead of 35: a write ends in the kernel's memory, and waits for the disk only behind a sync.
   */
  #put(line: Buffer, end: AuditPosition): Promise<void> {
    if (this.#writing !== undefined || this.#syncs.isUnderWay || this.#isFull) {
      return new Promise((resolve, reject) => {
        this.#queue.push({ line, end, resolve, reject });
        this.#writing ??= this.#write();
      });
    }
    try {
      this.#wrote(line, end, writeSync(this.#file.fd, line));
      return Promise.resolve();
    } catch (cause) {
      return Promise.reject(this.#fail(cause, []));
    }
  }

  /** Resolves once all that is written now is on the disk. */
  async #durable(): Promise<void> {
    try {
      await this.#syncs.run();
    } catch (cause) {
      throw this.#fail(cause, []);
    }
  }

  get #isFull(): boolean {
    return this.#written.offset - this.#start >= this.#full;
  }

  #encode(phase: "intent" | "outcome", fields: AuditFields): Buffer {
    const { op, opId, caller, secret, version, vm, way, revision, outcome } = fields;
    const seq = this.#position.seq + 1;
    const time = new Date(this.now()).toISOString();
    const body = JSON.stringify({ seq, time, phase, op, opId, caller, secret, version, vm, way, revision, outcome });
    const { line, end } = encodeLine(this.#key, this.#position, body);
    this.#position = end;
    return line;
  }

  /** Whatever has queued up meanwhile goes out in one write, by another thread. */
  async #write(): Promise<void> {
    while (this.#queue.length > 0) {
      const group = this.#queue;
      this.#queue = [];
      try {
        const bytes = Buffer.concat(group.map(({ line }) => line));
        const { end } = group.at(-1) as Waiting;
        if (this.#isFull) await this.#rotate();
        this.#wrote(bytes, end, (await this.#file.write(bytes)).bytesWritten);
      } catch (cause) {
        this.#fail(cause, group);
        break;
      }
      for (const { resolve } of group) resolve();
    }
    this.#writing = undefined;
  }

  #wrote(bytes: Buffer, end: AuditPosition, count: number): void {
    if (count !== bytes.length) throw new Error("ENOSPC: short write");
    this.#written = end;
    for (const listener of this.#listeners) listener();
    this.#syncTimer ??= setTimeout(() => void this.#syncLate(), SYNC_DELAY).unref();
  }

  /** What is in the full file is on disk before another one is begun. */
  async #rotate(): Promise<void> {
    await this.#syncs.run();
    const full = this.#file;
    this.#file = await rotate(this.path, this.#start);
    this.#start = this.#written.offset;
    await full.close();
  }

  async #sync(): Promise<void> {
    const written = this.#written;
    try {
      await this.#file.datasync();
    } catch (cause) {
      this.#syncFailed(cannotWrite(cause));
      throw cause;
    }
    if (written.seq > this.#synced.seq) this.#synced = written;
  }

  /** Syncs what nobody waits for within SYNC_DELAY. */
  async #syncLate(): Promise<void> {
    this.#syncTimer = undefined;
    await this.#syncAll();
  }

  async #syncAll(): Promise<void> {
    await this.#writing;
    if (this.#failure || this.#written.seq === this.#synced.seq) return;
    try {
      await this.#syncs.run();
    } catch (cause) {
      this.#fail(cause, []);
    }
  }

  /** Writes nothing any more, so that nothing is done or disclosed: the trail is not what was written. */
  condemn(error: HatchwayError): void {
    this.#failure ??= error;
  }

  /** After a failed write the file's end is unknown: this process writes no more, and so discloses no more. */
  #fail(cause: unknown, group: Waiting[]): HatchwayError {
    this.#failure ??= cannotWrite(cause);
    for (const { reject } of [...group, ...this.#queue]) reject(this.#failure);
    this.#queue = [];
    return this.#failure;
  }
}

function cannotWrite(cause: unknown): HatchwayError {
  return new HatchwayError("unavailable", `the audit trail cannot be written: ${errnoText(cause)}`, {
    hint: "make room or mend the disk, then restart the daemon",
    cause,
  });
}
