import type { Caller } from "#caller";
import type { Trail, TrailFilter, TrailSummary } from "#trail";
import type { Audit, AuditLine } from "#vault/audit";
import { verifyTrail } from "#vault/audit-chain";
import { linesOf, startOfLast } from "#vault/audit-files";
import type { Gate } from "#vault/gate";
import type { Key } from "#vault/envelope";
import type { VmRecord } from "#vault/records";
import type { Rows } from "#vault/rows";

/** Lines that go out as one piece. */
const BATCH = 256;

/** Reading the audit trail: from its files, so that a slow reader costs no memory and keeps nobody waiting. */
export class AuditTrail implements Trail {
  readonly #gate: Gate;
  readonly #rows: Rows;
  readonly #audit: Audit;
  readonly #key: Key;

  constructor(gate: Gate, rows: Rows, audit: Audit, key: Key) {
    this.#gate = gate;
    this.#rows = rows;
    this.#audit = audit;
    this.#key = key;
  }

  tail(caller: Caller, lines: number, signal?: AbortSignal): Promise<AsyncIterable<string>> {
    return this.#gate.read(caller, "audit.read", {}, async () => {
      const end = this.#audit.written.offset;
      const from = await startOfLast(await this.#audit.segments(), lines, end);
      return signal ? this.#follow(from, signal) : this.#between(from, end, () => true);
    });
  }

  select(caller: Caller, filter: TrailFilter): Promise<AsyncIterable<string>> {
    return this.#gate.read(
      caller,
      "audit.read",
      { ...(filter.secret !== undefined && { secret: filter.secret }) },
      async () => {
        // A guest's lines name its VM by id.
        const vm = filter.vm === undefined ? undefined : await this.#rows.get<VmRecord>(this.#rows.vmKey(filter.vm));
        const fits = (line: AuditLine): boolean => fitsFilter(line, filter, vm?.record.id);
        return this.#between(0, this.#audit.written.offset, fits);
      },
    );
  }

  verify(caller: Caller): Promise<TrailSummary> {
    return this.#gate.read(caller, "audit.verify", {}, async () => {
      const end = this.#audit.written;
      return verifyTrail(this.#audit.path, await this.#audit.segments(), this.#key, end);
    });
  }

  async *#between(from: number, to: number, fits: (line: AuditLine) => boolean): AsyncGenerator<string> {
    let batch: string[] = [];
    for await (const { text } of linesOf(await this.#audit.segments(), from, to)) {
      if (!fits(JSON.parse(text) as AuditLine)) continue;
      batch.push(`${text}\n`);
      if (batch.length < BATCH) continue;
      yield batch.join("");
      batch = [];
    }
    if (batch.length > 0) yield batch.join("");
  }

  async *#follow(from: number, signal: AbortSignal): AsyncGenerator<string> {
    let wake: (() => void) | undefined;
    const stir = (): void => wake?.();
    const unlisten = this.#audit.onWritten(stir);
    signal.addEventListener("abort", stir);
    try {
      for (let at = from; !signal.aborted;) {
        const end = this.#audit.written.offset;
        if (at < end) {
          yield* this.#between(at, end, () => true);
          at = end;
        } else {
          const { promise, resolve } = Promise.withResolvers<void>();
          wake = resolve;
          await promise;
        }
      }
    } finally {
      unlisten();
      signal.removeEventListener("abort", stir);
    }
  }
}

function fitsFilter(line: AuditLine, filter: TrailFilter, vmId: string | undefined): boolean {
  const { since, until, op, secret, vm } = filter;
  const time = Date.parse(line.time);
  if ((since !== undefined && time < since) || (until !== undefined && time >= until)) return false;
  if (op !== undefined && !(op.endsWith("*") ? line.op.startsWith(op.slice(0, -1)) : line.op === op)) return false;
  // Those that are attached together are in one line.
  if (secret !== undefined && line.secret?.split(",").includes(secret) !== true) return false;
  return vm === undefined || line.vm === vm || (vmId !== undefined && line.vm === vmId);
}
