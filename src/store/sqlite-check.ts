import { type HatchwayError, toHatchwayError } from "#error";
import { AFTER_START } from "#host/thread";
import { SqliteThread } from "./sqlite-thread.ts";

/**
 * Looks at every page of a large store once, in a thread of its own: what a change or a read comes upon is noticed then,
 * and this notices the rest. `damaged` is called with what is wrong, unless `stop` was.
 */
export class StoreCheck {
  readonly #path: string;
  readonly #damaged: (error: HatchwayError) => void;
  readonly #timer: NodeJS.Timeout;
  #thread: SqliteThread<"checker"> | undefined;
  #stopped = false;

  constructor(path: string, damaged: (error: HatchwayError) => void) {
    this.#path = path;
    this.#damaged = damaged;
    this.#timer = setTimeout(() => void this.#run(), AFTER_START).unref();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    void this.#thread?.terminate();
  }

  async #run(): Promise<void> {
    this.#thread = new SqliteThread({ role: "checker", path: this.#path, create: false });
    try {
      await this.#thread.open();
    } catch (error) {
      if (!this.#stopped) this.#damaged(toHatchwayError(error));
    }
  }
}
