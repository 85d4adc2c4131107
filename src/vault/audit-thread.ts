// The older part of a long trail is checked beside the serving, in a thread of its own (audit-worker.ts).
import { dirname, extname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { HatchwayError, type ErrorCode } from "#error";
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
  const key = new Uint8Array(check.key.bytes);
  const start: TrailCheck = { path: check.path, segments: check.segments, key, to: check.to };
  const worker = new Worker(workerFile(), { workerData: start, execArgv: [], name: "audit check" });
  key.fill(0);
  worker.unref();
  let ended = false;
  worker.on("message", (verdict: TrailVerdict) => {
    ended = true;
    if (!verdict.holds)
      fault(new HatchwayError(verdict.code, verdict.message, verdict.hint ? { hint: verdict.hint } : {}));
  });
  worker.on("error", (cause) => {
    ended = true;
    fault(new HatchwayError("internal", "internal error", { cause }));
  });
  worker.on("exit", (code) => {
    if (ended) return;
    fault(
      new HatchwayError("internal", "internal error", { cause: new Error(`the audit's thread ended with ${code}`) }),
    );
  });
  return async () => {
    ended = true;
    await worker.terminate();
  };
}

/** src/vault/audit-worker.ts when Node runs the sources, dist/audit-worker.cjs (or .js) in a build. */
function workerFile(): string {
  const file = import.meta.filename;
  return join(dirname(file), `audit-worker${extname(file)}`);
}
