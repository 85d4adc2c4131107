/** Characters that wait for one follower, at most. */
const MAX_WAITING = 262_144;

/** Those who read a text as it grows. Who reads too slowly is told that something is missing, and keeps nobody waiting. */
export class Followers {
  readonly #readers = new Set<(text: string) => void>();

  publish(text: string): void {
    for (const read of this.#readers) read(text);
  }

  /**
   * What `before` gives, and then what is published, until `signal` is aborted. What is published counts from when
   * `before` calls `begin`, at the latest from when it ends: so it decides what stands at the seam.
   */
  async *follow(before: (begin: () => void) => Promise<string>, signal: AbortSignal): AsyncGenerator<string> {
    let waiting = "";
    let wake: (() => void) | undefined;
    const read = (text: string): void => {
      if (waiting.length + text.length <= MAX_WAITING) waiting += text;
      else waiting = "\n(some of it is missing here)\n";
      wake?.();
    };
    const abort = (): void => wake?.();
    const begin = (): void => {
      this.#readers.add(read);
    };
    signal.addEventListener("abort", abort);
    try {
      const earlier = await before(begin);
      begin();
      yield earlier;
      while (!signal.aborted) {
        if (waiting === "") {
          const { promise, resolve } = Promise.withResolvers<void>();
          wake = resolve;
          await promise;
        }
        const text = waiting;
        waiting = "";
        if (text !== "") yield text;
      }
    } finally {
      this.#readers.delete(read);
      signal.removeEventListener("abort", abort);
    }
  }
}
