/**
 * How much of something each VM may use: `burst` at once, and `perSecond` of it comes back every second. What it bounds
 * is a guest that asks in a loop; one that behaves never notices.
 */
export class Allowance {
  readonly #burst: number;
  readonly #perSecond: number;
  /** What was used and has not come back, at a time by `performance.now()`. */
  readonly #used = new Map<string, { amount: number; at: number }>();

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
  }

  /** Uses `amount` if that much is left; says whether it was. */
  take(vmId: string, amount: number): boolean {
    const now = performance.now();
    const before = this.#used.get(vmId) ?? { amount: 0, at: now };
    const left = Math.max(0, before.amount - ((now - before.at) / 1000) * this.#perSecond);
    if (left + amount > this.#burst) return false;
    this.#used.set(vmId, { amount: left + amount, at: now });
    return true;
  }

  forget(vmId: string): void {
    this.#used.delete(vmId);
  }
}
