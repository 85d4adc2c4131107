import { HatchwayError } from "#error";

/** Milliseconds to wait after the first wrong try, and at most; it doubles with each. */
const FIRST = 1_000;
const MOST = 60_000;
/** Who tries is forgotten beyond so many. */
const REMEMBERED = 1_024;

/** Makes who guesses wait longer each time. */
export class Patience {
  readonly #now: () => number;
  readonly #tries = new Map<string, { wait: number; until: number }>();

  /** `now` in milliseconds; it never goes back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Throws "rate-limited" while `who` has to wait. */
  check(who: string): void {
    const left = (this.#tries.get(who)?.until ?? 0) - this.#now();
    if (left <= 0) return;
    throw new HatchwayError("rate-limited", "the try before was wrong", {
      hint: `try again in ${Math.ceil(left / 1000)} s`,
    });
  }

  wrong(who: string): void {
    const before = this.#tries.get(who)?.wait ?? FIRST / 2;
    const wait = Math.min(before * 2, MOST);
    this.#tries.delete(who);
    this.#tries.set(who, { wait, until: this.#now() + wait });
    for (const oldest of this.#tries.keys()) {
      if (this.#tries.size <= REMEMBERED) break;
      this.#tries.delete(oldest);
    }
  }

  right(): void {
    this.#tries.clear();
  }
}
