// The log of a machine's serial console. The guest writes what it likes and as much as it likes: the log is capped, and
// what is shown of it has nothing that a terminal would obey.

import { once } from "node:events";
import { constants, existsSync } from "node:fs";
import { lchown, open, rename, type FileHandle } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import process from "node:process";
import { HatchwayError } from "#error";
import { Followers } from "#followers";
import { removeTree } from "#host/remove-tree";
import { stripControl } from "#printable";
import type { Runner } from "#vm";

/** Of console.log; when it is full it becomes console.log.1, in place of the one before. */
export const maximumLog: number = 1024 * 1024;
const maximumShown = 1024;
/** QEMU has one; the rest is for one that comes back before its last is known to have ended. */
const maximumConnections = 4;

export interface ConsoleOptions {
  /** Where QEMU finds the console; see MachineSpec. Its folder is not the runner's to rename in (root's, sticky) or his own. */
  socket: string;
  /** The file; its sibling with `.1` behind the name has what was before. */
  log: string;
  runner: Runner;
}

/** Listens for a machine's console and keeps the newest one to two MiB of it in files of mode 0600 that are the runner's. */
export class ConsoleLog {
  readonly #options: ConsoleOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #followers = new Followers();
  readonly #utf8 = new TextDecoder();
  #file: FileHandle;
  #size: number;
  #writing: Promise<void> = Promise.resolve();
  #failure: unknown;

  private constructor(options: ConsoleOptions, file: FileHandle, size: number) {
    this.#options = options;
    this.#file = file;
    this.#size = size;
    this.#server = createServer((socket) => this.#accept(socket));
    this.#server.maxConnections = maximumConnections;
  }

  /** Listens at once; what an earlier daemon logged is kept. */
  static async listen(options: ConsoleOptions): Promise<ConsoleLog> {
    const file = await openLog(options);
    const { size } = await file.stat();
    const log = new ConsoleLog(options, file, size);
    try {
      await removeTree(options.socket);
      listenPrivately(log.#server, options.socket);
      await once(log.#server, "listening");
      // A connection that could not be accepted, for want of descriptors, is its own client's loss.
      log.#server.on("error", () => undefined);
      if (options.runner.uid !== process.getuid?.()) {
        await lchown(options.socket, options.runner.uid, options.runner.gid);
      }
    } catch (error) {
      await log.close();
      throw new HatchwayError("unavailable", `cannot listen on "${options.socket}"`, { cause: error });
    }
    return log;
  }

  /** The last `count` lines, each at most 1,024 characters, without control characters. */
  async tail(count: number): Promise<string[]> {
    await this.#writing;
    return tailLog(this.#options.log, count);
  }

  /** The last `count` lines, and then what the guest writes until `signal` is aborted; all without control characters. */
  follow(count: number, signal: AbortSignal): AsyncIterable<string> {
    return this.#followers.follow(async (begin) => {
      begin();
      const lines = await this.tail(count);
      return lines.map((line) => `${line}\n`).join("");
    }, signal);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
    await this.#writing;
    await this.#file.close();
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    // QEMU connects again after an error; there is nothing to say of it.
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk) => {
      // One chunk at a time, so that a guest that writes faster than the disk waits instead of filling memory.
      socket.pause();
      this.#followers.publish(stripControl(this.#utf8.decode(chunk, { stream: true })));
      this.#writing = this.#writing.then(() => this.#append(chunk)).then(() => void socket.resume());
    });
  }

  /** A log that cannot be written, on a full disk for instance, must not stop the guest: its output is then lost. */
  async #append(chunk: Buffer): Promise<void> {
    try {
      if (this.#size + chunk.length > maximumLog) await this.#turnOver();
      await this.#file.appendFile(chunk);
      this.#size += chunk.length;
    } catch (error) {
      this.#failure = error;
    }
  }

  /** Why the newest output is missing from the log; undefined when it is not. */
  get failure(): unknown {
    return this.#failure;
  }

  async #turnOver(): Promise<void> {
    const { log } = this.#options;
    // Somebody may have removed the log.
    if (existsSync(log)) await rename(log, `${log}.1`);
    const full = this.#file;
    this.#file = await openLog(this.#options);
    this.#size = 0;
    await full.close();
  }
}

/** The last `count` lines of a console log that nobody needs to be writing; none if there is no such file. */
export async function tailLog(log: string, count: number): Promise<string[]> {
  const newest = await readLog(log);
  const bytes = Buffer.concat([await readLog(`${log}.1`), newest]);
  const lines = stripControl(bytes.toString("utf8")).split("\n");
  if (lines.at(-1) === "") lines.pop();
  return count <= 0 ? [] : lines.slice(-count).map((line) => line.slice(0, maximumShown));
}

/** A new unix socket with mode 0600 from its first moment. */
function listenPrivately(server: Server, path: string): void {
  const umask = process.umask(0o177);
  try {
    // For a path, listen() binds before it returns.
    server.listen(path);
  } finally {
    process.umask(umask);
  }
}

/** The folder may be the runner's: no link is followed, nothing but a regular file with one name is touched. */
async function openLog({ log, runner }: ConsoleOptions): Promise<FileHandle> {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  let file: FileHandle;
  try {
    file = await open(log, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  } catch (error) {
    throw new HatchwayError("unavailable", `the console log "${log}" cannot be written`, { cause: error });
  }
  const status = await file.stat();
  if (!status.isFile() || status.nlink !== 1) {
    await file.close();
    throw new HatchwayError("forbidden", `the console log "${log}" should be a regular file with no other name`);
  }
  if (status.uid !== runner.uid) await file.chown(runner.uid, runner.gid);
  await file.chmod(0o600);
  return file;
}

async function readLog(path: string): Promise<Buffer> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  try {
    await using file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, maximumLog));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, Math.max(0, size - maximumLog));
    return bytes.subarray(0, bytesRead);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return Buffer.alloc(0);
    throw new HatchwayError("unavailable", `the console log "${path}" cannot be read`, { cause: error });
  }
}
