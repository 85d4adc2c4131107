// The `directory` store as the daemon has it: the folder with its mirror, bound to the sealed store beside it.
import { randomBytes } from "node:crypto";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { ownUid } from "#host/files";
import type { Mirror } from "#mirror";
import type { Vault } from "#vault";
import type { Maker } from "./attributes.ts";
import { Intake } from "./intake.ts";
import { FolderMirror, recover } from "./mirror.ts";
import { openFolder, readMark, removeMark, writeMark } from "./place.ts";
import { Problems } from "./problems.ts";
import { Tracked } from "./tracked.ts";
import { VaultSide } from "./vault-side.ts";
import { FolderWatch } from "./watch.ts";

/** Problems that the status lists, at most; the log has them all. */
const MAX_SHOWN = 100;

export interface FolderLog {
  write(line: string): void;
  report(error: unknown): void;
}

/** Opened in two steps: the vault takes `mirror`, and then `open` takes the vault. */
export class DirectoryStore {
  readonly mirror: Mirror;
  readonly tracked: Tracked;
  readonly problems: Problems;
  readonly #log: FolderLog;
  #watch: FolderWatch | undefined;

  /** `folder`: absolute. */
  constructor(folder: string, log: FolderLog) {
    this.tracked = new Tracked(folder, maker());
    this.mirror = new FolderMirror(this.tracked);
    this.problems = new Problems(folder, (line) => log.write(line));
    this.#log = log;
  }

  get folder(): string {
    return this.tracked.folder;
  }

  /**
   * Resolves once all files were looked at, and watches from then on. Throws "forbidden", "invalid" or "unavailable"
   * where the folder is not this store's.
   */
  async open(vault: Vault): Promise<void> {
    // The keys were sealed and opened again: what could not be brought in meanwhile has been tried on and on.
    if (this.#watch) return;
    const { side, intake } = await this.join(vault);
    const report = (error: unknown): void => this.#log.report(error);
    this.#watch = new FolderWatch(this.tracked, side, intake, this.problems, report);
    await this.#watch.open();
  }

  /** Ties folder and vault together, a store without secrets to a folder for the first time, and watches nothing. */
  async join(vault: Vault): Promise<{ side: VaultSide; intake: Intake }> {
    const { folder } = this;
    const caller: Caller = { kind: "folder", path: folder };
    const bound = await vault.plain.binding();
    if (bound?.state === "bound" && bound.folder !== folder) throw elsewhere(folder, bound.folder);
    if (bound?.state !== "bound") {
      if ((await vault.secrets(caller)).length > 0) {
        throw new HatchwayError("invalid", `the secrets of this store are not in the folder "${folder}" yet`, {
          hint: `put them there with: hatchway store migrate sqlite directory:${folder}`,
        });
      }
      await openFolder(folder);
      await bindFolder(vault, caller, folder);
      await vault.plain.bind(caller, { folder, id: (await readMark(folder)) ?? "", state: "bound" });
    }
    await this.#checkMark((await vault.plain.binding())?.id ?? "");
    const side = new VaultSide(vault, this.tracked);
    await recover(this.tracked, side);
    return { side, intake: new Intake(this.tracked, side, this.problems, (error) => this.#log.report(error)) };
  }

  /** What is wrong there is for who may see all secrets. */
  async status(
    vault: Vault,
    caller: Caller,
  ): Promise<{ folder: string; problems: { name: string; problem: string }[] }> {
    const sees = (await vault.whoami(caller)).some(({ role, secrets }) => role !== "runner" && secrets === "*");
    return { folder: this.folder, problems: sees ? this.problems.list().slice(0, MAX_SHOWN) : [] };
  }

  async close(): Promise<void> {
    await this.#watch?.close();
  }

  async #checkMark(id: string): Promise<void> {
    const { folder } = this;
    this.tracked.id = id;
    if ((await readMark(folder)) !== id) {
      throw new HatchwayError("unavailable", `the folder "${folder}" is empty, or belongs to another store`, {
        hint: "mount or put back the folder that the secrets are in",
      });
    }
    await openFolder(folder);
    await this.problems.sayFolder();
  }
}

/**
 * Marks the folder as this store's, to be filled; with the mark that it has where that was begun before. Throws "exists"
 * for the folder of another store.
 */
export async function bindFolder(vault: Vault, caller: Caller, folder: string): Promise<void> {
  const begun = await vault.plain.binding();
  const mark = await readMark(folder);
  if (begun?.state === "bound") throw elsewhere(folder, begun.folder);
  if (begun?.folder === folder && mark === begun.id) return;
  if (mark !== undefined) {
    throw new HatchwayError("exists", `the folder "${folder}" belongs to another store`, {
      hint: `if that store is gone for good: rm ${folder}/.hatchway-store`,
    });
  }
  const id = begun?.folder === folder ? begun.id : randomBytes(16).toString("hex");
  await vault.plain.bind(caller, { folder, id, state: "filling" });
  await writeMark(folder, id);
}

/** Ends that the folder is the store's: the sealed store is the truth from the first commit on. */
export async function unbindFolder(vault: Vault, caller: Caller, folder: string): Promise<void> {
  const bound = await vault.plain.binding();
  if (bound?.folder !== folder) return;
  if (bound.state === "bound") await vault.plain.bind(caller, { ...bound, state: "filling" });
  await removeMark(folder);
  await vault.plain.bind(caller, undefined);
}

/** Throws "invalid" if the newest secrets are in a folder: without it, older ones would be served. */
export async function refuseFolder(vault: Vault): Promise<void> {
  const bound = await vault.plain.binding();
  if (bound?.state !== "bound") return;
  throw new HatchwayError("invalid", `the secrets of this store are in the folder "${bound.folder}"`, {
    hint: `set store: directory in config.yaml, or: hatchway store migrate directory:${bound.folder} sqlite`,
  });
}

function elsewhere(folder: string, bound: string): HatchwayError {
  return new HatchwayError("invalid", `the secrets of this store are in the folder "${bound}", not in "${folder}"`, {
    hint: `set secrets-folder: ${bound}, or migrate to sqlite and from there to "${folder}"`,
  });
}

function maker(): Maker {
  return { uid: ownUid(), gid: process.getegid?.() ?? 0, chowns: ownUid() === 0 };
}
