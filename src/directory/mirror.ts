// From the vault to the folder. The order of a change:
//
//   1. the next file is staged beside its place, durable; a file that is to go is held by a second link
//   2. the vault commits
//   3. the staged file is renamed into its place, the held one is unlinked
//
// Killed before 2, what is staged or held is let go of at the next start; killed after 2, step 3 is done then.
import type { BigIntStats } from "node:fs";
import { lstat } from "node:fs/promises";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { errnoText, isErrno, syncFolder } from "#host/files";
import type { Mirror, MirrorChange } from "#mirror";
import type { Secret } from "#secret";
import { attributesOf, changeOf, type Attributes } from "./attributes.ts";
import { readEntry } from "./entry.ts";
import { discard, drop, hold, leftovers, place, stage, type Leftover } from "./staging.ts";
import type { Tracked } from "./tracked.ts";
import type { VaultSide } from "./vault-side.ts";

export class FolderMirror implements Mirror {
  readonly #tracked: Tracked;

  constructor(tracked: Tracked) {
    this.#tracked = tracked;
  }

  async change(caller: Caller, change: MirrorChange, commit: () => Promise<void>): Promise<void> {
    const { importing, changing, known } = this.#tracked;
    const names = [...new Set([change.before?.name, change.after?.name])].filter((name) => name !== undefined);
    await this.#tracked.checkFolder();
    if (caller.kind === "folder") {
      for (const name of names) await this.#mustBe(name, importing.get(name));
      return commit();
    }
    for (const name of names) changing.add(name);
    let isShown = true;
    try {
      for (const name of names) {
        await this.#mustBe(name, known.get(name), "missing");
        await this.#refuseFolder(name);
      }
      const ready = await this.#prepare(change);
      try {
        await commit();
      } catch (error) {
        await ready.undo();
        throw error;
      }
      isShown = false;
      await ready.show();
      isShown = true;
    } finally {
      // What could not be shown is left to the next start: until then its file is older than its secret.
      if (isShown) for (const name of names) changing.delete(name);
    }
  }

  /** Refuses a change while the file is another than the one that was looked at. */
  async #mustBe(name: string, ...signatures: (string | undefined)[]): Promise<void> {
    if (signatures.includes(await this.#tracked.signature(name))) return;
    this.#tracked.suspect(name);
    throw new HatchwayError("conflict", `the file of secret "${name}" was changed by hand a moment ago`, {
      hint: "try again",
    });
  }

  /** No file can take the place of a folder. */
  async #refuseFolder(name: string): Promise<void> {
    const path = this.#tracked.pathOf(name);
    if ((await statOf(path))?.isDirectory() !== true) return;
    throw new HatchwayError("exists", `"${path}" is a folder, and should be the file of secret "${name}"`, {
      hint: "move it away",
    });
  }

  async #prepare({ before, after, value }: MirrorChange): Promise<{ undo(): Promise<void>; show(): Promise<void> }> {
    const { folder, known } = this.#tracked;
    const name = after?.name ?? before?.name ?? "";
    const staged = after && (await this.#working(name, () => this.#stage(before, after, value)));
    const goes = before && before.name !== after?.name ? before.name : undefined;
    const undo = async (): Promise<void> => {
      for (const path of [staged, held]) if (path !== undefined) await discard(path);
    };
    let held: string | undefined;
    try {
      if (goes !== undefined) held = await this.#working(goes, () => hold(folder, goes));
    } catch (error) {
      await undo();
      throw error;
    }
    const show = async (): Promise<void> => {
      if (staged === undefined && held === undefined) return;
      if (staged !== undefined) await place(staged, folder, name);
      if (goes !== undefined && held !== undefined) await drop(folder, goes, held);
      await syncFolder(folder);
      if (goes !== undefined) known.delete(goes);
      if (staged !== undefined) known.set(name, await this.#tracked.signature(name));
    };
    return { undo, show: () => this.#working(name, show) };
  }

  /** The next file, unless the one that is there will do. */
  async #stage(before: Secret | undefined, after: Secret, value: Buffer | undefined): Promise<string | undefined> {
    const { folder, maker } = this.#tracked;
    const { name } = after;
    const attributes = attributesOf(after.delivery, maker);
    const from = before && before.name !== name ? before.name : undefined;
    if (value) return stage(folder, name, value, attributes, from);
    if (!before) throw new HatchwayError("internal", "a secret is made without a value");
    if (from === undefined && isSame(attributes, attributesOf(before.delivery, maker))) return undefined;
    const entry = await readEntry(this.#tracked.pathOf(before.name));
    if (entry.kind !== "read") {
      const why = entry.kind === "refused" ? entry.why : entry.kind === "missing" ? "is missing" : "is being written";
      throw new HatchwayError("conflict", `the file of secret "${before.name}" ${why}`);
    }
    try {
      return await stage(folder, name, entry.value, attributes, from);
    } finally {
      entry.value.fill(0);
    }
  }

  /** Says of which file it was that the system refused something. */
  async #working<T>(name: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (cause) {
      if (cause instanceof HatchwayError) throw cause;
      const path = this.#tracked.pathOf(name);
      throw new HatchwayError("unavailable", `cannot change the file "${path}": ${errnoText(cause)}`, { cause });
    }
  }
}

/** Does the third step of changes that were committed, and undoes the first of others, after a process was killed. */
export async function recover(tracked: Tracked, vault: VaultSide): Promise<void> {
  for (const leftover of await leftovers(tracked.folder)) {
    const secret = await vault.find(leftover.name);
    if (leftover.kind === "gone") {
      if (secret) await discard(leftover.path);
      else await drop(tracked.folder, leftover.name, leftover.path);
    } else if (secret && (await isCommitted(tracked, vault, leftover, secret))) {
      await place(leftover.path, tracked.folder, leftover.name);
      const { from } = leftover;
      if (from !== undefined && !(await vault.find(from))) await discard(tracked.pathOf(from));
    } else await discard(leftover.path);
  }
  await syncFolder(tracked.folder);
}

/** Whether the secret is as the staged file says, and nobody has changed the file in its place since. */
async function isCommitted(
  tracked: Tracked,
  vault: VaultSide,
  { path, name }: Leftover,
  secret: Secret,
): Promise<boolean> {
  const entry = await readEntry(path);
  if (entry.kind !== "read") return false;
  try {
    if (changeOf(entry.attributes, secret.delivery, tracked.maker)) return false;
    if (!(await vault.holds(name, entry.value))) return false;
  } finally {
    entry.value.fill(0);
  }
  const [staged, there] = await Promise.all([statOf(path), statOf(tracked.pathOf(name))]);
  return staged !== undefined && (there === undefined || there.ctimeNs <= staged.ctimeNs);
}

async function statOf(path: string): Promise<BigIntStats | undefined> {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

function isSame(a: Attributes, b: Attributes): boolean {
  return a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;
}
