// Bringing every row under the current term, while the store is in use. A pass looks at every row and seals those anew
// that are under another term; it is over when a pass finds none. What another writer changed meanwhile is left to the
// next pass. The row `rewrap` says that it is under way, so that the next start goes on where a killed process was.
import { setImmediate as turn } from "node:timers/promises";
import { HatchwayError, toHatchwayError } from "#error";
import type { RewrapProgress } from "#keys";
import { MAX_OPERATIONS, type Row, type Store } from "#store";
import { isOfTree } from "#store/tree-root";
import { termOf } from "#vault/envelope";
import type { Gate } from "#vault/gate";
import type { Keyring } from "#vault/keyring";
import { BLIND_ROWS, type Rows } from "#vault/rows";

const MARK = "rewrap";
/** Rows of one page; a page of large values ends earlier. */
const PAGE = 500;
/** Rows of one commit: others wait for it. */
const TOGETHER = 32;

interface Mark {
  running: boolean;
}

export class Rewrap {
  readonly #store: Store;
  readonly #rows: Rows;
  readonly #keyring: Keyring;
  readonly #gate: Gate;
  #progress: RewrapProgress = { state: "idle", done: 0, seen: 0 };
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(store: Store, rows: Rows, keyring: Keyring, gate: Gate) {
    this.#store = store;
    this.#rows = rows;
    this.#keyring = keyring;
    this.#gate = gate;
  }

  get progress(): RewrapProgress {
    return { ...this.#progress };
  }

  /** Goes on where an earlier process was stopped, if it was. */
  async resume(): Promise<void> {
    const mark = await this.#rows.getBlind<Mark>(MARK);
    if (mark?.running === true) this.#begin();
  }

  /** Begins unless it is under way; resolves once that outlives this process. */
  async start(): Promise<void> {
    await this.#gate.keep({ put: [this.#rows.putBlind(MARK, { running: true } satisfies Mark)] });
    this.#begin();
  }

  /** Stops after the commit that is under way; the next start goes on. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** Rows by the term that they are sealed under, all of them, old versions of values included. */
  count(): Promise<Map<number, number>> {
    return countTerms(this.#store);
  }

  #begin(): void {
    if (this.#running) return;
    this.#progress = { state: "running", done: 0, seen: 0 };
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async #run(): Promise<void> {
    try {
      while ((await this.#pass()) > 0);
      if (this.#stopped) return;
      await this.#gate.settle();
      await this.#gate.keep({ put: [this.#rows.putBlind(MARK, { running: false } satisfies Mark)] });
      this.#progress.state = "done";
    } catch (thrown) {
      // Told by `progress`, and tried again at the next start.
      this.#progress = { ...this.#progress, state: "failed", problem: toHatchwayError(thrown).message };
    }
  }

  /** Answers how many rows it found under another term. */
  async #pass(): Promise<number> {
    let found = 0;
    this.#progress.seen = 0;
    let batch: Row[] = [];
    for await (const row of allRows(this.#store)) {
      if (this.#stopped) return 0;
      this.#progress.seen += 1;
      if (BLIND_ROWS.has(row.key) || termOf(row.bytes) === this.#keyring.current) continue;
      found += 1;
      batch.push(row);
      if (batch.length < Math.min(TOGETHER, MAX_OPERATIONS)) continue;
      await this.#reseal(batch);
      batch = [];
    }
    await this.#reseal(batch);
    return found;
  }

  /** All in one commit; one by one where another change came between. */
  async #reseal(batch: readonly Row[]): Promise<void> {
    if (batch.length === 0) return;
    const puts = batch.map((row) => this.#rows.resealed(row));
    if (!(await this.#kept(puts))) for (const put of puts) await this.#kept([put]);
    this.#progress.done += batch.length;
    await turn();
  }

  async #kept(put: ReturnType<Rows["resealed"]>[]): Promise<boolean> {
    try {
      await this.#gate.keep({ put });
      return true;
    } catch (error) {
      if (error instanceof HatchwayError && error.code === "conflict") return false;
      throw error;
    }
  }
}

/** Rows by the term that they are sealed under, as they say themselves: no key is needed. */
export async function countTerms(store: Store): Promise<Map<number, number>> {
  const counts = new Map<number, number>();
  for await (const row of allRows(store)) {
    // Seen only where no vault stands before the store: it has no seal.
    if (isOfTree(row.key)) continue;
    const term = termOf(row.bytes);
    counts.set(term, (counts.get(term) ?? 0) + 1);
  }
  return counts;
}

async function* allRows(store: Store): AsyncGenerator<Row> {
  let after: string | undefined;
  for (;;) {
    const page = await store.list("", { limit: PAGE, ...(after !== undefined && { after }) });
    yield* page.rows;
    after = page.rows.at(-1)?.key;
    if (!page.more || after === undefined) return;
  }
}
