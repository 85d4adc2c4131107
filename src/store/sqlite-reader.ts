import { DatabaseSync, type StatementSync } from "node:sqlite";
import { MAX_PAGE_SIZE } from "#store";
import { packRows, type Question, type ReaderReply } from "./sqlite-messages.ts";

/** The connection that answers reads, each as of one revision, while the writer's may be waiting for the disk. */
export class SqliteReader {
  readonly #database: DatabaseSync;
  readonly #revision: StatementSync;
  readonly #row: StatementSync;
  readonly #page: StatementSync;
  readonly #operation: StatementSync;

  constructor(path: string) {
    this.#database = new DatabaseSync(path, { readOnly: true, timeout: 1_000 });
    this.#revision = this.#database.prepare("SELECT coalesce(max(revision), 0) AS revision FROM operations");
    this.#row = this.#database.prepare("SELECT version, bytes FROM rows WHERE key = ?");
    this.#page = this.#database.prepare(
      "SELECT key, version, bytes FROM rows WHERE key >= ? AND key < ? ORDER BY key LIMIT ?",
    );
    this.#operation = this.#database.prepare("SELECT revision FROM operations WHERE op_id = ?");
  }

  answer(request: Question): ReaderReply {
    if (request.kind === "committed") {
      return { kind: "operation", revision: this.#operation.get(request.opId)?.["revision"] as number | undefined };
    }
    return this.#snapshot((revision) =>
      request.kind === "read"
        ? { kind: "rows", revision, rows: this.#read(request.keys) }
        : { kind: "page", revision, ...this.#list(request) },
    );
  }

  close(): void {
    this.#database.close();
  }

  #snapshot<T>(read: (revision: number) => T): T {
    this.#database.exec("BEGIN");
    try {
      return read(this.#revision.get()?.["revision"] as number);
    } finally {
      // SQLite may have ended it already, for an error that is on its way out.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
    }
  }

  #read(keys: readonly string[]): ReturnType<typeof packRows> {
    return packRows(
      keys.map((key) => {
        const row = this.#row.get(key) as Columns | undefined;
        return { key, version: row?.version ?? 0, bytes: row?.bytes };
      }),
    );
  }

  /** No key holds a control character: "\x01" begins what follows a key, "\x7f" ends what starts with a prefix. */
  #list({ prefix, after, limit }: { prefix: string; after: string | undefined; limit: number }): {
    rows: ReturnType<typeof packRows>;
    more: boolean;
  } {
    const from = after === undefined || after < prefix ? prefix : `${after}\x01`;
    const rows: (Columns & { key: string })[] = [];
    let size = 0;
    for (const found of this.#page.iterate(from, `${prefix}\x7f`, limit + 1)) {
      const row = found as unknown as Columns & { key: string };
      size += row.bytes.length;
      if (rows.length === limit || (size > MAX_PAGE_SIZE && rows.length > 0)) {
        return { rows: packRows(rows), more: true };
      }
      rows.push(row);
    }
    return { rows: packRows(rows), more: false };
  }
}

interface Columns {
  version: number;
  bytes: Uint8Array<ArrayBuffer>;
}
