import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { isErrno, writeDurably } from "#host/files";
import type { ProcessIdentity } from "#vmm";

/** What a daemon must know of a process that an earlier one saw. */
export interface ProcessRecord {
  process: ProcessIdentity;
}

/** One file a process, in a folder that only the daemon's user can read; gone with a boot of the host. */
export class ProcessRecords<Record extends ProcessRecord> {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async write(id: string, record: Record): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await writeDurably(join(this.#folder, `${id}.json`), Buffer.from(JSON.stringify(record)));
  }

  async read(id: string): Promise<Record | undefined> {
    try {
      return JSON.parse(await readFile(join(this.#folder, `${id}.json`), "utf8")) as Record;
    } catch (error) {
      // What a power loss left half of is of a boot that is over.
      if (isErrno(error, "ENOENT") || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  async forget(id: string): Promise<void> {
    await rm(join(this.#folder, `${id}.json`), { force: true });
  }
}
