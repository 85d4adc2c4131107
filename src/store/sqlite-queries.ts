import { HatchwayError } from "#error";
import { type Question, type ReaderReply, unpackError } from "./sqlite-messages.ts";
import type { SqliteThread } from "./sqlite-thread.ts";

interface Asked {
  settle(reply: ReaderReply | HatchwayError): void;
}

/** Questions to the reader's thread, which answers them in order. */
export class Queries {
  readonly #thread: SqliteThread<"reader">;
  readonly #deadlineMs: number;
  #asked: Asked[] = [];

  constructor(thread: SqliteThread<"reader">, deadlineMs: number) {
    this.#thread = thread;
    this.#deadlineMs = deadlineMs;
  }

  /** Throws "unavailable" when no answer has come by the deadline. */
  ask(request: Question): Promise<ReaderReply> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new HatchwayError("unavailable", `disk of the store did not answer within ${this.#deadlineMs} ms`));
      }, this.#deadlineMs);
      const settle = (reply: ReaderReply | HatchwayError) => {
        clearTimeout(timer);
        if (reply instanceof HatchwayError) reject(reply);
        else resolve(reply);
      };
      this.#asked.push({ settle });
      this.#thread.say(request);
    });
  }

  answered(reply: ReaderReply): void {
    this.#asked.shift()?.settle(reply.kind === "refused" ? unpackError(reply.error) : reply);
  }

  fail(error: HatchwayError): void {
    for (const question of this.#asked.splice(0)) question.settle(error);
  }
}
