// The thread beside the main one in which a connection to SQLite lives: `writer` or `reader`. It begins by opening the
// store, then answers one message after the other, and ends after `close`. A `checker` looks at all of it, says whether it is
// whole, and ends.

import { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import { storeError } from "./sqlite-error.ts";
import { packError, type ReaderReply, type ReaderRequest } from "./sqlite-messages.ts";
import type { CheckerReply, ThreadStart, WriterReply, WriterRequest } from "./sqlite-messages.ts";
import { SqliteReader } from "./sqlite-reader.ts";
import { checkPages } from "./sqlite-schema.ts";
import { SqliteWriter } from "./sqlite-writer.ts";

const port = parentPort;
if (port === null) throw new Error("sqlite-worker is started by the store, in a thread");
const { role, path, create } = workerData as ThreadStart;
port.once("message", { writer: write, reader: read, checker: check }[role]);

function write(): void {
  let writer: SqliteWriter;
  try {
    writer = new SqliteWriter(path, create);
  } catch (error) {
    return refuse(error);
  }
  let failed = false;
  port?.on("message", (request: Exclude<WriterRequest, { kind: "open" }>) => {
    if (failed) return;
    try {
      if (request.kind === "close") {
        writer.close();
        port.close();
        return;
      }
      const answers = writer.commit(request.changes);
      // The rows of a change lie end to end in one piece of memory.
      const moved = answers.flatMap((answer) => (answer.outcome === "applied" ? answer.bytes.slice(0, 1) : []));
      const ready = !writer.wantsCheckpoint;
      say({ kind: "done", answers, ready }, moved);
      if (ready) return;
      writer.checkpoint();
      say({ kind: "ready" });
    } catch (error) {
      failed = true;
      say({ kind: "fatal", error: packError(storeError(path, error)) });
    }
  });
  say({ kind: "opened", epoch: writer.epoch, revision: writer.revision, isChecked: writer.isChecked });
}

function read(): void {
  let reader: SqliteReader;
  try {
    reader = new SqliteReader(path);
  } catch (error) {
    return refuse(error);
  }
  port?.on("message", (request: Exclude<ReaderRequest, { kind: "open" }>) => {
    if (request.kind === "close") {
      reader.close();
      port.close();
      return;
    }
    try {
      const reply = reader.answer(request);
      say(reply, "rows" in reply ? [reply.rows.bytes] : []);
    } catch (error) {
      say({ kind: "refused", error: packError(storeError(path, error)) });
    }
  });
  say({ kind: "opened" });
}

function check(): void {
  const database = new DatabaseSync(path, { readOnly: true, timeout: 1_000 });
  try {
    checkPages(database, path);
    say({ kind: "opened" });
  } catch (error) {
    say({ kind: "refused", error: packError(storeError(path, error)) });
  } finally {
    database.close();
    port?.close();
  }
}

function say(reply: WriterReply | ReaderReply | CheckerReply, moved: readonly Uint8Array<ArrayBuffer>[] = []): void {
  port?.postMessage(
    reply,
    moved.map((bytes) => bytes.buffer),
  );
}

function refuse(error: unknown): void {
  say({ kind: "refused", error: packError(storeError(path, error)) });
  port?.close();
}
