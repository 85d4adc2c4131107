import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { ChildLine } from "./store-child.ts";

/** A process of test/kit/store-child.ts and what it has said so far. */
export class StoreProcess {
  readonly lines: ChildLine[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #stderr = "";

  private constructor(path: string, deadlineMs: number) {
    const program = join(import.meta.dirname, "store-child.ts");
    this.#child = spawn(process.execPath, [program, path, `${deadlineMs}`], { stdio: ["pipe", "pipe", "pipe"] });
    this.#ended = once(this.#child, "close");
    if (this.#child.stdout === null) throw new Error("the store's process has no stdout");
    createInterface({ input: this.#child.stdout }).on("line", (line) => {
      this.lines.push(JSON.parse(line) as ChildLine);
    });
    this.#child.stderr?.on("data", (text: Buffer) => {
      this.#stderr += text.toString();
    });
  }

  /** Resolves when it has opened the store. */
  static async start(path: string, deadlineMs: number): Promise<StoreProcess> {
    const started = new StoreProcess(path, deadlineMs);
    await started.until((lines) => lines.some(({ did }) => did === "open"));
    return started;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Waits until `holds` of the lines from `from` on. Throws if the process ends before. */
  async until(holds: (lines: ChildLine[]) => boolean, from = 0): Promise<ChildLine[]> {
    for (;;) {
      const lines = this.lines.slice(from);
      if (holds(lines)) return lines;
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        throw new Error(`the store's process ended: ${this.#stderr || JSON.stringify(this.lines.slice(-5))}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** kill -9, and all that it said before. */
  async kill(): Promise<ChildLine[]> {
    this.#child.kill("SIGKILL");
    await this.#ended;
    return this.lines;
  }

  /** Lets it close the store and end. */
  async stop(): Promise<ChildLine[]> {
    this.#child.stdin?.end();
    await this.#ended;
    return this.lines;
  }
}
