import type { Page, Row, Snapshot, Store } from "#store";

/** A store between whose rows and whoever reads them somebody stands who has no keys. */
export interface TamperedStore {
  store: Store;
  /** What is read in place of these rows; undefined: nothing. */
  readonly rows: Map<string, { version: number; bytes: Buffer } | undefined>;
}

/** `store` stays open when the one that is given is closed, so that it can be opened again. */
export function tampered(store: Store): TamperedStore {
  const rows: TamperedStore["rows"] = new Map();
  const seen = (key: string, row: Row | undefined): Row | undefined => {
    if (!rows.has(key)) return row;
    const put = rows.get(key);
    return put && { key, version: put.version, bytes: Buffer.from(put.bytes) };
  };
  const read = async (keys: readonly string[]): Promise<Snapshot> => {
    const snapshot = await store.read(keys);
    return { ...snapshot, rows: keys.map((key, at) => seen(key, snapshot.rows[at])) };
  };
  const list = async (prefix: string, options: { after?: string; limit: number }): Promise<Page> => {
    const page = await store.list(prefix, options);
    const there = new Map(page.rows.map((row) => [row.key, row] as const));
    const last = page.more ? (page.rows.at(-1)?.key ?? "") : "\u007f";
    const put = [...rows.keys()].filter((key) => {
      return key.startsWith(prefix) && key > (options.after ?? "") && key <= last;
    });
    const keys = [...new Set([...there.keys(), ...put])].sort();
    return { ...page, rows: keys.map((key) => seen(key, there.get(key))).filter((row) => row !== undefined) };
  };
  return {
    rows,
    store: {
      epoch: () => store.epoch(),
      revision: () => store.revision(),
      read,
      list,
      commit: (change) => store.commit(change),
      committed: (opId) => store.committed(opId),
      watch: (from, listener) => store.watch(from, listener),
      close: async () => undefined,
    },
  };
}
