import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { isErrno, writeDurably } from "#host/files";
import type { Accelerator, ProcessIdentity } from "#vmm";

/** What a daemon must know to find a machine that an earlier one launched. */
export interface ProcessRecord {
  process: ProcessIdentity;
  accelerator: Accelerator;
  shell: boolean;
}

/** One file a running machine, in a folder that only the daemon's user can read; gone with a boot of the host. */
export class ProcessRecords {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async write(vmId: string, record: ProcessRecord): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await writeDurably(join(this.#folder, `${vmId}.json`), Buffer.from(JSON.stringify(record)));
  }

  async read(vmId: string): Promise<ProcessRecord | undefined> {
    try {
      return JSON.parse(await readFile(join(this.#folder, `${vmId}.json`), "utf8")) as ProcessRecord;
    } catch (error) {
      // What a power loss left half of is of a boot that is over.
      if (isErrno(error, "ENOENT") || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  async forget(vmId: string): Promise<void> {
    await rm(join(this.#folder, `${vmId}.json`), { force: true });
  }
}
