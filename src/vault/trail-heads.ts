import { toHatchwayError } from "#error";
import type { Store } from "#store";
import type { Audit } from "#vault/audit";

/** How far trail and store have come: what is on the disk at some moment. */
export interface TrailHead {
  /** Of the last line, and its MAC, hex. */
  seq: number;
  mac: string;
  /** Of the store, hex. */
  epoch: string;
  revision: number;
}

/** Milliseconds between two heads that are told. */
const INTERVAL = 1_000;

/**
 * Tells now and then how far trail and store have come, for who keeps it elsewhere: whoever puts store and trail back to
 * an older day together is found out by that.
 */
export class TrailHeads {
  readonly #audit: Audit;
  readonly #store: Store;
  readonly #tell: (head: TrailHead) => void;
  readonly #unlisten: () => void;
  #timer: NodeJS.Timeout | undefined;
  #told = 0;

  constructor(audit: Audit, store: Store, tell: (head: TrailHead) => void) {
    this.#audit = audit;
    this.#store = store;
    this.#tell = tell;
    this.#unlisten = audit.onWritten(() => {
      this.#timer ??= setTimeout(() => void this.#now(), INTERVAL).unref();
    });
  }

  /** Tells the last head; nothing is told after it. */
  async close(): Promise<void> {
    this.#unlisten();
    clearTimeout(this.#timer);
    await this.#now();
  }

  async #now(): Promise<void> {
    this.#timer = undefined;
    const { seq, mac } = this.#audit.anchor.newest;
    if (seq === this.#told) return;
    try {
      const [epoch, revision] = await Promise.all([this.#store.epoch(), this.#store.revision()]);
      this.#told = seq;
      this.#tell({ seq, mac, epoch: epoch.toString("hex"), revision });
    } catch (error) {
      // Why it has failed, the store tells itself.
      if (toHatchwayError(error).code !== "unavailable") throw error;
    }
  }
}
