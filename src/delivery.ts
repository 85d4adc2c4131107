import type { Bundle } from "#bundle";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import type { ReceiptClaim, Vault } from "#vault";
import type { Convergence } from "#vm";

/**
 * Between the vault and the ways into guests: who waits for a change is told of it, and who waits for a VM to have it
 * is told of that.
 */
export class Delivery {
  readonly #vault: Vault;
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #unwatch: () => void;
  #closed = false;

  constructor(vault: Vault) {
    this.#vault = vault;
    this.#unwatch = vault.watch((vmId) => this.#wake(vmId));
  }

  /**
   * The bundle of `vmId` as soon as it is another than `have`, at once if it is already; undefined when `wait`
   * milliseconds have passed or `signal` says that nobody is there any more.
   */
  async next(
    caller: Caller,
    vmId: string,
    have: string | undefined,
    wait: number,
    signal: AbortSignal,
  ): Promise<Bundle | undefined> {
    return this.#until(vmId, wait, signal, async () => {
      const bundle = await this.#vault.resolve(caller, vmId);
      return bundle.manifest.revision === have ? undefined : bundle;
    });
  }

  async receive(caller: Caller & { kind: "vm" }, revision: string, receipt: ReceiptClaim): Promise<void> {
    await this.#vault.receive(caller, revision, receipt);
    this.#wake(caller.vmId);
  }

  /** What is known of the VM once `enough` holds of it. Throws "timeout" after `wait` milliseconds. */
  async converged(
    caller: Caller,
    vmId: string,
    wait: number,
    signal: AbortSignal,
    enough: (convergence: Convergence) => boolean,
  ): Promise<Convergence> {
    const reached = await this.#until(vmId, wait, signal, async () => {
      const convergence = await this.#vault.convergence(caller, vmId);
      return enough(convergence) ? convergence : undefined;
    });
    if (reached) return reached;
    throw new HatchwayError("timeout", `the guest did not answer within ${wait / 1000} s`);
  }

  /** Ends all waiting. */
  close(): void {
    this.#closed = true;
    this.#unwatch();
    this.#wake(undefined);
  }

  /** Asks `look` now and after each change of the VM. A change while it looks makes it look again. */
  async #until<T>(
    vmId: string,
    wait: number,
    signal: AbortSignal,
    look: () => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const deadline = performance.now() + wait;
    for (;;) {
      const change = this.#change(vmId, signal);
      try {
        if (this.#closed) throw new HatchwayError("unavailable", "the daemon is stopping");
        const found = await look();
        if (found !== undefined || signal.aborted) return found;
        const left = deadline - performance.now();
        if (left <= 0 || !(await change.within(left))) return undefined;
      } finally {
        change.forget();
      }
    }
  }

  /** A change of the VM from now on, or the end of the caller's interest. */
  #change(vmId: string, signal: AbortSignal): { within(ms: number): Promise<boolean>; forget(): void } {
    const waiting = this.#waiting.get(vmId) ?? new Set();
    this.#waiting.set(vmId, waiting);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const wake = (): void => resolve(true);
    const abort = (): void => resolve(false);
    waiting.add(wake);
    signal.addEventListener("abort", abort);
    let timer: NodeJS.Timeout | undefined;
    return {
      within(ms) {
        timer = setTimeout(() => resolve(false), ms);
        return promise;
      },
      forget: () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        waiting.delete(wake);
        if (waiting.size === 0 && this.#waiting.get(vmId) === waiting) this.#waiting.delete(vmId);
      },
    };
  }

  #wake(vmId: string | undefined): void {
    const sets = vmId === undefined ? [...this.#waiting.values()] : [this.#waiting.get(vmId) ?? new Set<() => void>()];
    for (const waiting of sets) for (const wake of waiting) wake();
  }
}
