// What the store's threads say to each other.
//
//   main ──► writer   open;  commit, commit, …;  close      one transaction for each `commit`, however many changes
//   main ◄── writer   opened | refused;  done, ready, …; fatal
//   main ──► reader   open;  read | list | committed, …;  close
//   main ◄── reader   opened | refused;  rows | page | operation | refused, …   one for each question, in order
//   main ──► checker  open
//   main ◄── checker  opened | refused                      of a large store: whether every page of it is whole
//
// Each thread is told to `open` the store first, and says that it has, or why not, and ends. Bytes are moved, not copied.

import { type ErrorCode, HatchwayError } from "#error";
import type { Row } from "#store";

/** How a thread is started. */
export interface ThreadStart {
  role: "writer" | "reader" | "checker";
  path: string;
  create: boolean;
}

export type WriterRequest = { kind: "open" } | { kind: "commit"; changes: WireChange[] } | { kind: "close" };

export type WriterReply =
  | { kind: "opened"; epoch: Uint8Array; revision: number; isChecked: boolean }
  | { kind: "refused"; error: WireError }
  /** An answer for each change of the batch. Not `ready`: a checkpoint follows, then the message `ready`. */
  | { kind: "done"; answers: Answer[]; ready: boolean }
  | { kind: "ready" }
  /** Nothing more can be done with this store by this process; the batch under way may be on the disk or not. */
  | { kind: "fatal"; error: WireError };

export type ReaderRequest =
  | { kind: "open" }
  | { kind: "read"; keys: readonly string[] }
  | { kind: "list"; prefix: string; after: string | undefined; limit: number }
  | { kind: "committed"; opId: string }
  | { kind: "close" };

export type Question = Exclude<ReaderRequest, { kind: "open" | "close" }>;

export type ReaderReply =
  | { kind: "opened" }
  | { kind: "rows"; revision: number; rows: PackedRows }
  | { kind: "page"; revision: number; rows: PackedRows; more: boolean }
  | { kind: "operation"; revision: number | undefined }
  | { kind: "refused"; error: WireError };

export type CheckerRequest = { kind: "open" | "close" };

export type CheckerReply = { kind: "opened" } | { kind: "refused"; error: WireError };

export interface WireChange {
  opId: string;
  expect: { key: string; version: number }[];
  put: { key: string; version: number | undefined; bytes: Uint8Array<ArrayBuffer> }[];
  delete: { key: string; version: number }[];
}

export type Answer =
  /** `versions` and `bytes` are those of the rows put, in their order. */
  | { outcome: "applied"; revision: number; versions: number[]; bytes: Uint8Array<ArrayBuffer>[] }
  /** The same operation was applied at `revision` before; nothing was done now. */
  | { outcome: "repeated"; revision: number }
  | { outcome: "conflict"; key: string }
  | { outcome: "refused"; error: WireError };

/** Rows end to end in one piece of memory, so that a page of ten thousand is moved at once. Version 0: no such row. */
export interface PackedRows {
  keys: string[];
  versions: number[];
  sizes: number[];
  bytes: Uint8Array<ArrayBuffer>;
}

export interface WireError {
  code: ErrorCode;
  message: string;
  hint: string | undefined;
  /** The stack of what caused it, for the log. */
  detail: string;
}

export function packRows(
  rows: readonly { key: string; version: number; bytes: Uint8Array<ArrayBuffer> | undefined }[],
): PackedRows {
  const [only] = rows;
  const packed: PackedRows = { keys: [], versions: [], sizes: [], bytes: new Uint8Array(0) };
  let size = 0;
  for (const row of rows) {
    packed.keys.push(row.key);
    packed.versions.push(row.version);
    packed.sizes.push(row.bytes?.length ?? 0);
    size += row.bytes?.length ?? 0;
  }
  if (rows.length === 1 && only?.bytes !== undefined) return { ...packed, bytes: only.bytes };
  packed.bytes = new Uint8Array(size);
  let offset = 0;
  for (const { bytes } of rows) {
    if (bytes === undefined) continue;
    packed.bytes.set(bytes, offset);
    offset += bytes.length;
  }
  return packed;
}

export function unpackRows({ keys, versions, sizes, bytes }: PackedRows): (Row | undefined)[] {
  let end = bytes.byteOffset;
  return keys.map((key, index) => {
    const version = versions[index] ?? 0;
    const size = sizes[index] ?? 0;
    end += size;
    return version === 0 ? undefined : { key, version, bytes: Buffer.from(bytes.buffer, end - size, size) };
  });
}

export function packError(error: HatchwayError): WireError {
  const { code, message, hint, cause } = error;
  return { code, message, hint, detail: (cause instanceof Error ? cause.stack : error.stack) ?? message };
}

export function unpackError({ code, message, hint, detail }: WireError): HatchwayError {
  return new HatchwayError(code, message, { ...(hint !== undefined && { hint }), cause: new Error(detail) });
}
