import type { Entry } from "./tree-node.ts";

/** Of each row that a change writes, what the tree knew of it before. */
export type Before = ReadonlyMap<string, Entry | undefined>;

interface Change {
  before: Before;
  /** How many changes were acknowledged up to this one; undefined while it is under way. */
  done?: number;
}

/** A read under way: it may see what was so before any change that had not been acknowledged when it began. */
export interface Reading {
  since: number;
}

/**
 * The changes that are under way, and those that have been acknowledged since the oldest read under way began. The tree is
 * what will be once they are done; a read may be of a moment before.
 */
export class Changes {
  #changes: Change[] = [];
  #done = 0;
  /** In the order in which they began. */
  readonly #readings = new Set<Reading>();

  add(before: Before): Change {
    const change = { before };
    this.#changes.push(change);
    return change;
  }

  acknowledge(change: Change): void {
    this.#done += 1;
    change.done = this.#done;
    this.#forget();
  }

  /** Forgets all changes that were not acknowledged: they are not done. */
  drop(): void {
    this.#changes = this.#changes.filter(({ done }) => done !== undefined);
  }

  begin(): Reading {
    const reading = { since: this.#done };
    this.#readings.add(reading);
    return reading;
  }

  end(reading: Reading): void {
    this.#readings.delete(reading);
    this.#forget();
  }

  /** What the tree knew of `key` at other moments of the read than now. */
  *before(key: string, { since }: Reading): Generator<Entry | undefined> {
    for (const { before, done } of this.#changes) {
      if ((done === undefined || done > since) && before.has(key)) yield before.get(key);
    }
  }

  /** Keys that may have been other at some moment of the read than they are now. */
  touched({ since }: Reading): Set<string> {
    const changes = this.#changes.filter(({ done }) => done === undefined || done > since);
    return new Set(changes.flatMap(({ before }) => [...before.keys()]));
  }

  #forget(): void {
    const [oldest] = this.#readings;
    const since = oldest?.since ?? this.#done;
    const first = this.#changes.findIndex(({ done }) => done === undefined || done > since);
    if (first !== 0) this.#changes = first < 0 ? [] : this.#changes.slice(first);
  }
}
