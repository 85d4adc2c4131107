import type { WatchEvent } from "#store";

/** Commits whose keys are remembered, for watchers that begin or fall behind. */
const REMEMBERED = 1_024;

interface Watcher {
  listener: (event: WatchEvent) => void;
  /** The last revision that it was told of. */
  told: number;
  mustReset: boolean;
  scheduled: boolean;
}

/** Which keys the newest commits wrote: what watchers are told, and what a read that took its time can be checked by. */
export class ChangeLog {
  #revision: number;
  /** Keys of the commits #oldest … #revision. */
  readonly #keys = new Map<number, readonly string[]>();
  readonly #watchers = new Set<Watcher>();

  constructor(revision: number) {
    this.#revision = revision;
  }

  get revision(): number {
    return this.#revision;
  }

  /** The next commit, made at `revision`. */
  append(keys: readonly string[]): number {
    this.#revision += 1;
    this.#keys.set(this.#revision, keys);
    this.#keys.delete(this.#revision - REMEMBERED);
    for (const watcher of this.#watchers) this.#schedule(watcher);
    return this.#revision;
  }

  /** Makes every watcher read again what matters. */
  reset(): void {
    for (const watcher of this.#watchers) {
      watcher.mustReset = true;
      this.#schedule(watcher);
    }
  }

  /** Whether `key` may have been written after `revision`. */
  changedSince(revision: number, key: string): boolean {
    for (let later = revision + 1; later <= this.#revision; later += 1) {
      const keys = this.#keys.get(later);
      if (keys === undefined || keys.includes(key)) return true;
    }
    return false;
  }

  /** The contract of `Store.watch`. */
  watch(from: number, listener: (event: WatchEvent) => void): () => void {
    const mustReset = from > this.#revision || (from < this.#revision && !this.#keys.has(from + 1));
    const watcher: Watcher = { listener, told: mustReset ? this.#revision : from, mustReset, scheduled: false };
    this.#watchers.add(watcher);
    this.#schedule(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  /** Nobody is called back any more. */
  close(): void {
    this.#watchers.clear();
  }

  /** Each watcher has a microtask of its own: what one listener throws keeps no other from its events. */
  #schedule(watcher: Watcher): void {
    if (watcher.scheduled || (watcher.told === this.#revision && !watcher.mustReset)) return;
    watcher.scheduled = true;
    queueMicrotask(() => {
      watcher.scheduled = false;
      this.#tell(watcher);
    });
  }

  #tell(watcher: Watcher): void {
    while (this.#watchers.has(watcher)) {
      if (watcher.mustReset || (watcher.told < this.#revision && !this.#keys.has(watcher.told + 1))) {
        watcher.mustReset = false;
        watcher.told = this.#revision;
        watcher.listener({ kind: "reset" });
        continue;
      }
      const revision = watcher.told + 1;
      const keys = this.#keys.get(revision);
      if (keys === undefined) return;
      watcher.told = revision;
      watcher.listener({ kind: "changes", revision, keys });
    }
  }
}
