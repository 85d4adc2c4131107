// The older part of a long trail is checked beside the serving, in a thread of its own (audit-worker.ts).
import { Worker } from "node:worker_threads";
import { HatchwayError, type ErrorCode } from "#error";
import { AFTER_START, threadFile } from "#host/thread";
import type { AuditPosition } from "#vault/audit";
import type { Segment } from "#vault/audit-files";
import type { Key } from "#vault/envelope";

/** What the thread is started with. */
export interface TrailCheck {
  path: string;
  segments: readonly Segment[];
  /** A copy, which the thread wipes. */
  key: Uint8Array;
  to: AuditPosition;
}

/** What it says before it ends. */
export type TrailVerdict = { holds: true } | { holds: false; code: ErrorCode; message: string; hint?: string };

/**
 * Checks the trail from its first line to `to`, and calls `fault` with what does not hold, or with why it could not be
 * looked at. The returned function ends it.
 */
export function checkBeside(
  check: { path: string; segments: readonly Segment[]; key: Key; to: AuditPosition },
  fault: (error: HatchwayError) => void,
): () => Promise<void> {
  let worker: Worker | undefined;
  const timer = setTimeout(() => {
    worker = begin(check, (error) => {
      if (worker) fault(error);
    });
  }, AFTER_START).unref();
  return async () => {
    clearTimeout(timer);
    const running = worker;
    worker = undefined;
    await running?.terminate();
  };
}

function begin(check: Parameters<typeof checkBeside>[0], fault: (error: HatchwayError) => void): Worker {
  const key = new Uint8Array(check.key.bytes);
  const start: TrailCheck = { path: check.path, segments: check.segments, key, to: check.to };
  const worker = new Worker(threadFile(import.meta.filename, "audit-worker"), {
    workerData: start,
    execArgv: [],
    name: "audit check",
  });
  key.fill(0);
  worker.unref();
  const failed = (cause: unknown): void => fault(new HatchwayError("internal", "internal error", { cause }));
  let hasSaid = false;
  worker.on("message", (verdict: TrailVerdict) => {
    hasSaid = true;
    if (verdict.holds) return;
    const { code, message, hint } = verdict;
    fault(new HatchwayError(code, message, hint === undefined ? {} : { hint }));
  });
  worker.on("error", (cause) => {
    hasSaid = true;
    failed(cause);
  });
  worker.on("exit", (code) => {
    if (!hasSaid) failed(new Error(`the audit's thread ended with ${code}`));
  });
  return worker;
}
