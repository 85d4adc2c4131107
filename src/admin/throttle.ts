/** How often something may go wrong for one address within a while; what it is told after that costs us nothing. */
export class Throttle {
  readonly #limit: number;
  readonly #window: number;
  readonly #now: () => number;
  /** Oldest first. */
  readonly #failures = new Map<string, { since: number; count: number }>();

  /** `window` and `now` in milliseconds; `now` never goes back. */
  constructor(limit: number, window: number, now: () => number = () => performance.now()) {
    this.#limit = limit;
    this.#window = window;
    this.#now = now;
  }

  /** Counts a failure; undefined while there are few, else the seconds until it is forgotten. */
  fail(address: string): number | undefined {
    const now = this.#now();
    for (const [oldest, { since }] of this.#failures) {
      if (now - since < this.#window && this.#failures.size <= ADDRESSES) break;
      this.#failures.delete(oldest);
    }
    const before = this.#failures.get(address) ?? { since: now, count: 0 };
    before.count++;
    this.#failures.set(address, before);
    if (before.count <= this.#limit) return undefined;
    return Math.max(1, Math.ceil((before.since + this.#window - now) / 1000));
  }
}

/** Addresses that are remembered, at most. */
const ADDRESSES = 1024;
