import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { HatchwayError } from "#error";
import { threadFile } from "#host/thread";
import { type ReaderReply, type ReaderRequest, type ThreadStart, unpackError } from "./sqlite-messages.ts";
import type { CheckerReply, CheckerRequest, WriterReply, WriterRequest } from "./sqlite-messages.ts";

interface Roles {
  writer: { request: WriterRequest; reply: WriterReply };
  reader: { request: ReaderRequest; reply: ReaderReply };
  checker: { request: CheckerRequest; reply: CheckerReply };
}

/** One of the store's threads, running. */
export class SqliteThread<R extends keyof Roles> {
  readonly #worker: Worker;
  #mayEnd = false;
  /** Resolves when the thread has ended. */
  readonly ended: Promise<void>;

  constructor(start: ThreadStart & { role: R }) {
    this.#worker = new Worker(threadFile(import.meta.filename, "sqlite-worker"), {
      workerData: start,
      execArgv: [],
      name: `store ${start.role}`,
    });
    this.ended = new Promise((resolve) => this.#worker.once("exit", () => resolve()));
  }

  /** Resolves with what the thread says when it has opened the store; throws what it says when it has not. */
  async open(): Promise<Roles[R]["reply"] & { kind: "opened" }> {
    const ending = new AbortController();
    const { signal } = ending;
    this.say({ kind: "open" });
    try {
      const [reply] = (await Promise.race([
        once(this.#worker, "message", { signal }),
        once(this.#worker, "exit", { signal }).then(() => [{ kind: "gone" }]),
      ])) as [Roles[R]["reply"] | { kind: "gone" }];
      if (reply.kind === "refused") throw unpackError(reply.error);
      if (reply.kind !== "opened") throw new Error(`the store's thread began with "${reply.kind}"`);
      return reply as Roles[R]["reply"] & { kind: "opened" };
    } finally {
      ending.abort();
    }
  }

  /** `lost` is called when the thread ends by itself or cannot be understood. */
  listen(heard: (reply: Roles[R]["reply"]) => void, lost: (error: HatchwayError) => void): void {
    const lose = (cause: unknown) => lost(new HatchwayError("internal", "internal error", { cause }));
    this.#worker.on("message", heard);
    this.#worker.on("error", lose);
    this.#worker.on("messageerror", lose);
    this.#worker.on("exit", (code) => {
      if (!this.#mayEnd) lose(new Error(`the store's thread ended with ${code}`));
    });
  }

  say(request: Roles[R]["request"], moved: readonly ArrayBuffer[] = []): void {
    if (request.kind === "close") this.#mayEnd = true;
    this.#worker.postMessage(request, moved);
  }

  /** Ends it without a word, as soon as the call into the kernel returns in which it may be. */
  async terminate(): Promise<void> {
    this.#mayEnd = true;
    await this.#worker.terminate();
  }
}
