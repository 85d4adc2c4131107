// One process at a time owns a store. Node has no flock(2); SQLite takes the same kind of lock that the kernel lets go
// when the process ends, by whatever signal: a transaction is begun on an empty database beside the store, held, and
// never written. `PRAGMA locking_mode=EXCLUSIVE` on the store itself would shut out our own reader.

import { existsSync, readFileSync, statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { HatchwayError } from "#error";
import { lockFile } from "./place.ts";
import { isBusy, storeError } from "./sqlite-error.ts";

export class StoreLock implements Disposable {
  readonly #database: DatabaseSync;

  /** Takes the lock of the store at `path` by the file that `lockFile` names, or throws "locked" at once. */
  constructor(path: string) {
    const database = new DatabaseSync(lockFile(path), { timeout: 0 });
    try {
      // Without this, a journal would be made for the page that is never written.
      database.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    } catch (error) {
      database.close();
      throw isBusy(error) ? lockedError(path, error) : storeError(lockFile(path), error);
    }
    this.#database = database;
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

function lockedError(path: string, cause: unknown): HatchwayError {
  const pid = lockOwner(lockFile(path));
  const who = pid === process.pid ? "in this process already" : "in another process";
  const known = pid === undefined || pid === process.pid ? "" : ` (pid ${pid})`;
  return new HatchwayError("locked", `store "${path}" is open ${who}${known}`, { cause });
}

/**
 * Who holds a POSIX lock on `file`, by proc_locks(5): `1: POSIX  ADVISORY  WRITE 4711 fe:00:2154849 0 EOF`. Undefined
 * if the kernel does not say: no /proc, another pid namespace, a file system that has several device numbers.
 */
function lockOwner(file: string): number | undefined {
  if (!existsSync("/proc/locks")) return undefined;
  const { dev, ino } = statSync(file, { bigint: true });
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn);
  const name = `${hex(major)}:${hex(minor)}:${ino}`;
  for (const line of readFileSync("/proc/locks", "utf8").split("\n")) {
    const [, , , , pid, where] = line.split(/\s+/);
    if (where === name && Number(pid) > 0) return Number(pid);
  }
  return undefined;
}

function hex(number: bigint): string {
  return number.toString(16).padStart(2, "0");
}
