// The thread that checks the older part of the audit trail: one run, one verdict, and it ends.
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { toHatchwayError } from "#error";
import { verifyTrail } from "#vault/audit-chain";
import type { TrailCheck, TrailVerdict } from "#vault/audit-thread";
import { Key } from "#vault/envelope";

/** Milliseconds of rest after each step, so that the daemon's own threads come first on a small machine. */
const REST = 5;

const { path, segments, key: bytes, to } = workerData as TrailCheck;
void verdict().then((said) => parentPort?.postMessage(said, []));

async function verdict(): Promise<TrailVerdict> {
  using key = new Key(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  try {
    await verifyTrail(path, segments, key, to, () => sleep(REST));
    return { holds: true };
  } catch (thrown) {
    const { code, message, hint } = toHatchwayError(thrown);
    return { holds: false, code, message, ...(hint !== undefined && { hint }) };
  }
}
