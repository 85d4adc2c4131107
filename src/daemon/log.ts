import { open, rename, type FileHandle } from "node:fs/promises";
import { HatchwayError, toHatchwayError } from "#error";
import { Followers } from "#followers";
import { isErrno } from "#host/files";
import { stripControl } from "#printable";

/** Bytes of one log file; the one before it is kept beside it as `.1`. */
const MAX_SIZE = 1_048_576;

/** The daemon's log: a line `TIME text` each, in a file and, in the foreground, on stderr. */
export class DaemonLog {
  readonly #path: string;
  readonly #echo: boolean;
  readonly #followers = new Followers();
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, echo: boolean) {
    this.#path = path;
    this.#echo = echo;
  }

  write(text: string): void {
    const line = `${new Date().toISOString()} ${stripControl(text).replaceAll("\n", " | ")}\n`;
    if (this.#echo) process.stderr.write(line);
    this.#writing = this.#writing.then(() => this.#tell(line));
  }

  /** An error with its causes. What is not a HatchwayError is a fault of ours, so its stack is told too. */
  report(thrown: unknown): void {
    const error = toHatchwayError(thrown);
    const causes: string[] = [];
    for (let cause = error.cause; cause instanceof Error && causes.length < 5; cause = cause.cause) {
      causes.push(cause instanceof HatchwayError ? cause.message : (cause.stack ?? cause.message));
    }
    this.write([`${error.code}: ${error.message}`, ...causes].join(" <- "));
  }

  async tail(lines: number): Promise<string> {
    await this.#writing;
    return this.#read(lines);
  }

  async #read(lines: number): Promise<string> {
    const text = (await readWhole(`${this.#path}.1`)) + (await readWhole(this.#path));
    const all = text.split("\n").slice(0, -1);
    if (lines <= 0) return "";
    return all
      .slice(-lines)
      .map((line) => `${line}\n`)
      .join("");
  }

  /** The last lines, and then those that come until `signal` is aborted. */
  follow(lines: number, signal: AbortSignal): AsyncIterable<string> {
    return this.#followers.follow((begin) => {
      // Between two lines, so that none is missed and none is there twice.
      const before = this.#writing.then(async () => {
        const text = await this.#read(lines);
        begin();
        return text;
      });
      this.#writing = before.then(
        () => undefined,
        () => undefined,
      );
      return before;
    }, signal);
  }

  async close(): Promise<void> {
    await this.#writing;
  }

  /** A follower has no line before the file has it. */
  async #tell(line: string): Promise<void> {
    await this.#append(line);
    this.#followers.publish(line);
  }

  async #append(line: string): Promise<void> {
    try {
      await using file = await open(this.#path, "a", 0o600);
      if ((await file.stat()).size + line.length > MAX_SIZE) {
        await rename(this.#path, `${this.#path}.1`);
        await using next: FileHandle = await open(this.#path, "a", 0o600);
        await next.appendFile(line);
        return;
      }
      await file.appendFile(line);
    } catch (error) {
      // A log that cannot be written stops nothing; in the foreground stderr has the line anyway.
      if (!this.#echo) process.stderr.write(`hatchway: the log cannot be written: ${toHatchwayError(error).message}\n`);
    }
  }
}

async function readWhole(path: string): Promise<string> {
  try {
    await using file = await open(path);
    return await file.readFile("utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return "";
    throw error;
  }
}
