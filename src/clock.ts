/** Milliseconds that a clock may go back without a word: no more than a step of NTP. */
const UNSAID = 1_000;

/**
 * The time of day as it is written down, which never goes back: while the host's clock is behind what was written
 * already, time stands still. What is waited for is measured by `performance.now()` instead.
 */
export class Clock {
  readonly #read: () => number;
  readonly #report: (line: string) => void;
  #latest = 0;
  #isBehind = false;

  /** `report` is told once, each time that the host's clock went back; `read` answers milliseconds since 1970. */
  constructor(report: (line: string) => void = () => undefined, read: () => number = () => Date.now()) {
    this.#report = report;
    this.#read = read;
  }

  /** Milliseconds since 1970, and never less than before. */
  now(): number {
    const read = this.#read();
    const behind = this.#latest - read;
    if (behind <= 0) {
      this.#latest = read;
      this.#isBehind = false;
    } else if (behind > UNSAID && !this.#isBehind) {
      this.#isBehind = true;
      const until = new Date(this.#latest).toISOString();
      this.#report(
        `the host's clock went back by ${Math.round(behind / 1000)} s: what is written says ${until} till then`,
      );
    }
    return this.#latest;
  }

  /** Time was `then` once, in milliseconds since 1970: it is never less again. */
  was(then: number): void {
    if (then > this.#latest) this.#latest = then;
  }
}
