import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { HatchwayError } from "#error";
import { errnoText } from "#host/files";
import { tryLock } from "#host/libc";

/**
 * A file with the pid of the one process that may do something, locked by flock(2): the kernel lets go of the lock when
 * that process ends, however it does. The file stays.
 */
export class PidFile implements AsyncDisposable {
  readonly #file: FileHandle;

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Throws "locked" at once, with the holder's pid, while another has it; `what` is what that one has open. */
  static async take(path: string, what: string): Promise<PidFile> {
    const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
    let file: FileHandle;
    try {
      file = await open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
    } catch (cause) {
      throw new HatchwayError("unavailable", `cannot open "${path}": ${errnoText(cause)}`, { cause });
    }
    try {
      if (!tryLock(file.fd)) {
        const pid = (await file.readFile("latin1")).trim();
        const holder = pid === String(process.pid) ? "this process" : `pid ${pid === "" ? "unknown" : pid}`;
        throw new HatchwayError("locked", `${what} is in use by ${holder}`);
      }
      await file.truncate();
      await file.write(`${process.pid}\n`, 0);
    } catch (error) {
      await file.close();
      throw error;
    }
    return new PidFile(file);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.truncate();
    await this.#file.close();
  }
}
