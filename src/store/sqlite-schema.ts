// The layout of a store's file, format 1. A SQLite database in WAL mode:
//
//   meta        one row: the format, and the epoch (16 random bytes)
//   rows        what the store keeps: key (printable ASCII), version (1, 2, …), sealed bytes
//   operations  the newest 10,000 commits, one for each revision; the newest revision is the store's
//
// Nothing else belongs into the file: a trigger or a view that somebody added is refused.

import { randomBytes } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { HatchwayError } from "#error";

export const FORMAT = 1;
/** Operations that are remembered. */
export const REMEMBERED = 10_000;

const TABLES: readonly string[] = [
  "CREATE TABLE meta (format INTEGER NOT NULL, epoch BLOB NOT NULL) STRICT",
  "CREATE TABLE rows (key TEXT PRIMARY KEY, version INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID",
  "CREATE TABLE operations (revision INTEGER PRIMARY KEY, op_id TEXT NOT NULL UNIQUE) STRICT",
];

/** True for a file in which nothing was ever made, or only begun when the process ended. */
export function isEmpty(database: DatabaseSync): boolean {
  return database.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() === undefined;
}

/** Makes the tables, in one transaction, and the epoch that it returns. */
export function makeSchema(database: DatabaseSync): Uint8Array {
  const epoch = randomBytes(16);
  database.exec(`BEGIN IMMEDIATE; ${TABLES.join(";")}`);
  database.prepare("INSERT INTO meta VALUES (?, ?)").run(FORMAT, epoch);
  database.exec("COMMIT");
  return epoch;
}

/** The store's epoch. Throws "unsupported" for another format, "corrupt" for what is no store. */
export function checkSchema(database: DatabaseSync, path: string): Uint8Array {
  const names = database.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").all();
  const found = new Set(names.map(({ sql }) => String(sql)));
  if (![...found].some((sql) => sql.startsWith("CREATE TABLE meta (format INTEGER NOT NULL"))) {
    throw new HatchwayError("corrupt", `"${path}" is a database but no hatchway store`);
  }
  const meta = database.prepare("SELECT * FROM meta").all();
  const format = meta[0]?.["format"];
  if (format !== FORMAT) {
    throw new HatchwayError(
      "unsupported",
      `store "${path}" has format ${String(format)}: this version reads format ${FORMAT}`,
      { hint: "start the version of hatchway that made it; nothing was changed" },
    );
  }
  if (found.size !== TABLES.length || TABLES.some((sql) => !found.has(sql))) {
    throw new HatchwayError("corrupt", `store "${path}" has other tables than format ${FORMAT}`);
  }
  const epoch = meta[0]?.["epoch"];
  if (meta.length !== 1 || !(epoch instanceof Uint8Array) || epoch.length !== 16) {
    throw new HatchwayError("corrupt", `store "${path}" has no epoch`);
  }
  return epoch;
}

/** Bytes of the file, log and free pages aside. */
export function sizeOf(database: DatabaseSync): number {
  const pages = Number(database.prepare("PRAGMA page_count").get()?.["page_count"]);
  return pages * Number(database.prepare("PRAGMA page_size").get()?.["page_size"]);
}

/** Looks at every page, which takes as long as there are many. Throws "corrupt" for a damaged store. */
export function checkPages(database: DatabaseSync, path: string): void {
  const verdict = database.prepare("PRAGMA quick_check(1)").get()?.["quick_check"];
  if (verdict === "ok") return;
  throw new HatchwayError("corrupt", `store "${path}" is damaged`, { cause: new Error(String(verdict)) });
}
