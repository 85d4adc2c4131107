// What somebody can do to a store's file who has the file and not the keys. The store must be closed meanwhile.
import { copyFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";

/** A row as it lies in the file. */
export interface RawRow {
  key: string;
  version: number;
  bytes: Uint8Array;
}

function inside<T>(path: string, act: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(path);
  try {
    return act(database);
  } finally {
    database.close();
  }
}

/** All rows whose key begins with `prefix`. */
export function rawRows(path: string, prefix: string): RawRow[] {
  return inside(path, (database) =>
    database
      .prepare("SELECT key, version, bytes FROM rows WHERE substr(key, 1, length(?)) = ? ORDER BY key")
      .all(prefix, prefix)
      .map((row) => ({ ...row }) as unknown as RawRow),
  );
}

/** Puts rows as they are, in place of those of their keys. */
export function putRaw(path: string, rows: readonly RawRow[]): void {
  inside(path, (database) => {
    const put = database.prepare("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)");
    for (const { key, version, bytes } of rows) put.run(key, version, bytes);
  });
}

export function deleteRaw(path: string, keys: readonly string[]): void {
  inside(path, (database) => {
    const remove = database.prepare("DELETE FROM rows WHERE key = ?");
    for (const key of keys) remove.run(key);
  });
}

/** Makes the store say that it did these operations, the last of them at `revision`. */
export function forgeOperations(path: string, revision: number, opIds: readonly string[]): void {
  inside(path, (database) => {
    database.exec("DELETE FROM operations");
    const add = database.prepare("INSERT INTO operations VALUES (?, ?)");
    for (const [index, opId] of opIds.entries()) add.run(revision - opIds.length + 1 + index, opId);
  });
}

/** A copy of the whole store as it is. */
export function copyStore(path: string, to: string): void {
  copyFileSync(path, to);
}
