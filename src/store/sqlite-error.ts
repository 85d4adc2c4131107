// What SQLite's result codes (https://sqlite.org/rescode.html) mean for a store.

import { HatchwayError } from "#error";

const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_NOMEM = 7;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

/** Refusals that leave the connection and all that it has written as they were. */
const HARMLESS: ReadonlySet<number | undefined> = new Set([SQLITE_BUSY, SQLITE_LOCKED, SQLITE_NOMEM, SQLITE_FULL]);

export function isBusy(thrown: unknown): boolean {
  return primaryCode(thrown) === SQLITE_BUSY;
}

/** Whether a transaction that ended with this was refused as a whole and the next one may succeed. */
export function isHarmless(thrown: unknown): boolean {
  return HARMLESS.has(primaryCode(thrown));
}

/** What a user is told of what SQLite threw for the store at `path`. */
export function storeError(path: string, thrown: unknown): HatchwayError {
  if (thrown instanceof HatchwayError) return thrown;
  const cause = thrown;
  switch (primaryCode(thrown)) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return new HatchwayError("unavailable", `store "${path}" is held by another program`, { cause });
    case SQLITE_NOMEM:
      return new HatchwayError("unavailable", `store "${path}" got no memory`, { cause });
    case SQLITE_FULL:
      return new HatchwayError("unavailable", `disk of store "${path}" is full`, { cause });
    case SQLITE_IOERR:
      return new HatchwayError("unavailable", `disk of store "${path}" failed`, { cause });
    case SQLITE_CORRUPT:
      return new HatchwayError("corrupt", `store "${path}" is damaged`, { cause });
    case SQLITE_NOTADB:
      return new HatchwayError("corrupt", `store "${path}" is not a database`, { cause });
    case undefined:
      return new HatchwayError("internal", "internal error", { cause });
    default:
      return new HatchwayError("unavailable", `store "${path}" cannot be used: ${(thrown as Error).message}`, {
        cause,
      });
  }
}

/** The lower eight bits of an extended code say what kind it is. */
function primaryCode(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !("errcode" in thrown) || typeof thrown.errcode !== "number") return undefined;
  return thrown.errcode & 0xff;
}
