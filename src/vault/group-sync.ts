/**
 * Syncs for all who ask: one at a time, and whoever asks while one is under way shares the next. Where a disk hangs, no
 * more than one thread hangs with it.
 */
export class GroupSync {
  readonly #sync: () => Promise<void>;
  #current: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  get isUnderWay(): boolean {
    return this.#current !== undefined;
  }

  /** Resolves once a sync that began after this call is done; rejects as that does. */
  run(): Promise<void> {
    if (this.#current === undefined) return this.#begin();
    const after = (): Promise<void> => {
      this.#next = undefined;
      return this.#begin();
    };
    this.#next ??= this.#current.then(after, after);
    return this.#next;
  }

  async #begin(): Promise<void> {
    const current = this.#sync();
    this.#current = current;
    try {
      await current;
    } finally {
      if (this.#current === current) this.#current = undefined;
    }
  }
}
