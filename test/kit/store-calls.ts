import { randomUUID } from "node:crypto";
import type { HatchwayError } from "#error";
import type { Change, CommitResult, Row, Store } from "#store";

/** A store that is new and empty. */
export type Open = () => Promise<Store>;

/** `change({ put: … })`: a change with an opId of its own and nothing else in it. */
export function change(parts: Partial<Change>): Change {
  return { opId: randomUUID(), expect: [], put: [], delete: [], ...parts };
}

export function bytesOf(text: string): Buffer {
  return Buffer.from(text);
}

export async function put(store: Store, key: string, text: string, version?: number): Promise<CommitResult> {
  return store.commit(change({ put: [{ key, ...(version !== undefined && { version }), bytes: bytesOf(text) }] }));
}

/** `key@version=text` of each row, `-` where there is none. */
export function shown(rows: readonly (Row | undefined)[]): string[] {
  return rows.map((row) => (row ? `${row.key}@${row.version}=${row.bytes.toString()}` : "-"));
}

export async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "resolved",
    (error: HatchwayError) => error.code,
  );
}

/** Long enough for every event that is due. */
export async function settled(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 5));
}
