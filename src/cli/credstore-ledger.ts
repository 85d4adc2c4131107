// Which files of a folder of credentials are ours, and what they hold: `.hatchway.json` in that folder, 0600. A file that is
// not as the ledger says was changed by somebody, and is his.
import { createHash } from "node:crypto";
import { readFile, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { HatchwayError } from "#error";
import { errnoText, isErrno, readPrivateFile, syncFolder, writeDurably } from "#host/files";

/** Of one file: the grant and version whose value it holds, and the SHA-256 of its bytes, in hex. */
export interface Held {
  attached_at: string;
  version: number;
  sha256: string;
  /** While it is replaced: what it may be still. */
  before?: string;
}

/** `{"format":1,"files":{"NAME":{"attached_at":…,"version":3,"sha256":…}}}` */
interface LedgerFile {
  format: 1;
  files: Record<string, Held>;
}

const LIMIT = 16_777_216;

export class CredstoreLedger {
  readonly #folder: string;
  readonly #files: Map<string, Held>;

  private constructor(folder: string, files: Map<string, Held>) {
    this.#folder = folder;
    this.#files = files;
  }

  /** Throws HatchwayError "corrupt" for a file that is not of this form, and as reading does. */
  static async read(folder: string): Promise<CredstoreLedger> {
    const path = ledgerPath(folder);
    const bytes = await readPrivateFile(path, LIMIT);
    return new CredstoreLedger(folder, bytes ? parse(path, bytes.toString()) : new Map());
  }

  get names(): string[] {
    return [...this.#files.keys()];
  }

  held(name: string): Held | undefined {
    return this.#files.get(name);
  }

  /** Whose the file of that name is: "ours" as the ledger has it, "another's", or there is "none". */
  async owner(name: string): Promise<"ours" | "another's" | "none"> {
    const found = await digestOf(join(this.#folder, name));
    if (found === undefined) return "none";
    const held = this.#files.get(name);
    return found === held?.sha256 || found === held?.before ? "ours" : "another's";
  }

  /**
   * Puts each draft in the place of its file. The ledger says so first, so that whatever ends this process leaves no file of
   * ours that it does not know.
   */
  async replace(drafts: readonly { name: string; draft: string; held: Omit<Held, "sha256"> }[]): Promise<void> {
    for (const { name, draft, held } of drafts) {
      const sha256 = await digestOf(draft);
      if (sha256 === undefined) throw new HatchwayError("unavailable", `"${draft}" is gone`);
      const before = this.#files.get(name)?.sha256;
      this.#files.set(name, { ...held, sha256, ...(before !== undefined && { before }) });
    }
    await this.#write();
    for (const { name, draft } of drafts) await rename(draft, join(this.#folder, name));
    await syncFolder(this.#folder);
    for (const { name } of drafts) delete this.#files.get(name)?.before;
    await this.#write();
  }

  /** Forgets the files, and removes those that are ours. */
  async remove(names: readonly string[]): Promise<void> {
    for (const name of names) if ((await this.owner(name)) === "ours") await unlink(join(this.#folder, name));
    await syncFolder(this.#folder);
    for (const name of names) this.#files.delete(name);
    await this.#write();
  }

  async #write(): Promise<void> {
    const file: LedgerFile = { format: 1, files: Object.fromEntries(this.#files) };
    await writeDurably(ledgerPath(this.#folder), Buffer.from(`${JSON.stringify(file, null, 2)}\n`));
  }
}

function ledgerPath(folder: string): string {
  return join(folder, ".hatchway.json");
}

function parse(path: string, text: string): Map<string, Held> {
  try {
    const { format, files } = JSON.parse(text) as Partial<LedgerFile>;
    if (format !== 1 || typeof files !== "object" || !Object.values(files).every(isHeld)) throw new Error("wrong form");
    return new Map(Object.entries(files));
  } catch (cause) {
    throw new HatchwayError("corrupt", `"${path}" is not as hatchway wrote it`, {
      hint: `look at it and at what lies beside it; without it nothing there counts as hatchway's`,
      cause,
    });
  }
}

function isHeld(held: Partial<Held>): boolean {
  return [held.attached_at, held.sha256].every((text) => typeof text === "string") && Number.isInteger(held.version);
}

/** Undefined where there is no file. */
async function digestOf(path: string): Promise<string | undefined> {
  try {
    return createHash("sha256")
      .update(await readFile(path))
      .digest("hex");
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return undefined;
    throw new HatchwayError("unavailable", `cannot read "${path}": ${errnoText(cause)}`, { cause });
  }
}
