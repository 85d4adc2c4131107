import { HatchwayError } from "#error";
import type { CommitResult } from "#store";
import { type Answer, unpackError, type WireChange } from "./sqlite-messages.ts";

/** Changes and bytes of one transaction, at most, so that none takes long; one change alone may have more bytes. */
const BATCH_CHANGES = 256;
const BATCH_SIZE = 8_388_608;
/** Bytes that wait for their turn, at most (64 MiB); a disk that hangs shall not fill the memory. */
const QUEUE_SIZE = 67_108_864;
/** What an operation counts beside its bytes. */
const OPERATION_COST = 256;

type Applied = Answer & { outcome: "applied" };

interface Ticket {
  change: WireChange;
  size: number;
  timer: NodeJS.Timeout;
  settle(result: CommitResult | HatchwayError): void;
}

/**
 * Commits on their way to the writer. What comes in while one transaction runs goes together into the next (group
 * commit). Each is settled within the deadline: one that waits still is taken out and refused, for one that has begun
 * the result is `unknown`.
 */
export class CommitQueue {
  readonly #deadlineMs: number;
  readonly #begin: (changes: WireChange[]) => void;
  #waiting: Ticket[] = [];
  #begun: Ticket[] = [];
  #waitingSize = 0;
  #ready = true;
  #scheduled = false;
  #whenIdle: (() => void)[] = [];

  /** `begin` hands a batch to the writer. `answered` follows, then or later `ready`. */
  constructor(deadlineMs: number, begin: (changes: WireChange[]) => void) {
    this.#deadlineMs = deadlineMs;
    this.#begin = begin;
  }

  push(change: WireChange): Promise<CommitResult> {
    const size = sizeOf(change);
    if (this.#waiting.length > 0 && this.#waitingSize + size > QUEUE_SIZE) {
      throw new HatchwayError("unavailable", `store is behind: ${this.#waitingSize} bytes wait for the disk`);
    }
    return new Promise((resolve, reject) => {
      const settle = (result: CommitResult | HatchwayError) => {
        clearTimeout(ticket.timer);
        if (result instanceof HatchwayError) reject(result);
        else resolve(result);
      };
      const timer = setTimeout(() => this.#expire(ticket), this.#deadlineMs);
      const ticket: Ticket = { change, size, timer, settle };
      this.#waiting.push(ticket);
      this.#waitingSize += size;
      this.#schedule();
    });
  }

  /** Whether the operation waits or has begun, without an answer so far. */
  isUnderWay(opId: string): boolean {
    return [...this.#begun, ...this.#waiting].some(({ change }) => change.opId === opId);
  }

  /** The batch that was begun is done; `applied` is called for each change that was made, in order. */
  answered(answers: readonly Answer[], applied: (change: WireChange, answer: Applied) => void): void {
    for (const [index, ticket] of this.#begun.splice(0).entries()) {
      const answer = answers[index];
      if (answer?.outcome === "applied") applied(ticket.change, answer);
      ticket.settle(answer === undefined ? { outcome: "unknown" } : resultOf(answer));
    }
  }

  /** The writer can take the next batch. */
  ready(): void {
    this.#ready = true;
    this.#schedule();
    if (this.#isIdle()) this.#tellIdle();
  }

  /** Resolves when nothing waits and nothing has begun. */
  idle(): Promise<void> {
    return this.#isIdle() ? Promise.resolve() : new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  /** The writer is lost: what has begun is unknown, what waits is refused. */
  fail(error: HatchwayError): void {
    for (const ticket of this.#begun) ticket.settle({ outcome: "unknown" });
    for (const ticket of this.#waiting) ticket.settle(error);
    this.#begun = [];
    this.#waiting = [];
    this.#waitingSize = 0;
    this.#ready = true;
    this.#tellIdle();
  }

  /** After the events of this turn of the loop, so that commits which many sockets bring at once share a batch. */
  #schedule(): void {
    if (this.#scheduled || !this.#ready || this.#waiting.length === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#next();
    });
  }

  #next(): void {
    let size = 0;
    let count = 0;
    for (const ticket of this.#waiting) {
      size += ticket.size;
      if (count === BATCH_CHANGES || (count > 0 && size > BATCH_SIZE)) break;
      count += 1;
      this.#waitingSize -= ticket.size;
    }
    if (count === 0) return;
    this.#begun = this.#waiting.splice(0, count);
    this.#ready = false;
    this.#begin(this.#begun.map(({ change }) => change));
  }

  #expire(ticket: Ticket): void {
    const index = this.#waiting.indexOf(ticket);
    if (index === -1) return ticket.settle({ outcome: "unknown" });
    this.#waiting.splice(index, 1);
    this.#waitingSize -= ticket.size;
    ticket.settle(new HatchwayError("unavailable", `disk of the store did not answer within ${this.#deadlineMs} ms`));
  }

  #isIdle(): boolean {
    return this.#ready && this.#waiting.length === 0;
  }

  #tellIdle(): void {
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }
}

function resultOf(answer: Answer): CommitResult | HatchwayError {
  if (answer.outcome === "refused") return unpackError(answer.error);
  if (answer.outcome === "conflict") return { outcome: "conflict", key: answer.key };
  return { outcome: "ok", revision: answer.revision };
}

function sizeOf(change: WireChange): number {
  const operations = 1 + change.expect.length + change.put.length + change.delete.length;
  return change.put.reduce((size, { bytes }) => size + bytes.length, operations * OPERATION_COST);
}
