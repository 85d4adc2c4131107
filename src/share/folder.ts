// The folder that a share is, as protocol/share.ts draws it, and how what it shows is replaced.
import { closeSync, constants, fchmodSync, fsyncSync, openSync, readdirSync, renameSync } from "node:fs";
import { chmod, chown, lstat, mkdir, readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { HatchwayError } from "#error";
import { errnoText, isErrno, ownUid } from "#host/files";
import { isInMemory } from "#host/in-memory";
import { removeTree } from "#host/remove-tree";
import { BundleReader } from "#protocol/bundle";
import { linkTo, revisionOfLink, SHARED_CURRENT, SHARED_SEALED, SHARED_SETS } from "#protocol/share";
import { SHARE_HOLD, type SharedBy } from "#share";
import { asTheyAre, mapped, PASSABLE, writeAll, type Look } from "./look.ts";
import { SetWriter } from "./set-writer.ts";

/**
 * Gives all bytes of an encoding to `take`, in order, which needs them during the call only; whether there were any: false
 * means that what is shown is still right.
 */
export type Fill = (take: (bytes: Uint8Array) => void) => Promise<boolean>;

/** A share that is open to be replaced, by one process at a time. */
export interface Share extends AsyncDisposable {
  /** The folder that the guest is to be given. */
  readonly exported: string;
  /**
   * Shows what `fill` brings, whole, in the place of what it shows now, which stays if anything fails; whether there was
   * something. Throws HatchwayError.
   */
  replace(fill: Fill): Promise<boolean>;
  /** Shows nothing any more. */
  clear(): Promise<void>;
  /** Resolves when nothing of what was replaced is left. */
  settled(): Promise<void>;
  /** What was replaced goes at once. What is shown stays, for the next who opens the share. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The folder below that of a plain share that the guest is given: so its own mode shuts nobody of the host in. */
const FILES = "files";
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;

/**
 * A share of one sealed file, in `path`, which is made where it is missing. Takes an age file. Whoever can pass the folders
 * above can read the file, and without the key do nothing with it.
 */
export async function openSealedShare(path: string): Promise<Share> {
  await ownFolder(path, 0o755, [SHARED_SEALED, `${SHARED_SEALED}.next`]);
  const file = join(path, SHARED_SEALED);
  return {
    exported: path,
    replace: (fill) => replaceFile(file, fill),
    clear: () => removeTree(file),
    async settled() {},
    async [Symbol.asyncDispose]() {},
  };
}

/** Makes the new file once there is something for it. */
async function replaceFile(path: string, fill: Fill): Promise<boolean> {
  const next = `${path}.next`;
  let fd: number | undefined;
  try {
    await removeTree(next);
    const isWhole = await fill((bytes) => {
      fd ??= openSync(next, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      writeAll(fd, bytes);
    });
    if (!isWhole || fd === undefined) return false;
    fchmodSync(fd, 0o444);
    fsyncSync(fd);
    renameSync(next, path);
    return true;
  } catch (cause) {
    throw problem(path, cause);
  } finally {
    if (fd !== undefined) closeSync(fd);
    await removeTree(next);
  }
}

/**
 * A share of files that can be read as they are, below `path`, which is made where it is missing and must be in memory. Takes
 * a bundle's tar. What serves it runs as root, or by 9p as somebody of the group `gid`; nobody else of the host gets in.
 */
export async function openPlainShare(path: string, by: SharedBy, gid: number): Promise<Share> {
  const isMapped = by === "9p" && gid !== process.getegid?.();
  const isNew = await ownFolder(path, isMapped ? 0o710 : 0o700, [FILES]);
  if (!isInMemory(path)) {
    if (isNew) await rmdir(path);
    throw new HatchwayError("invalid", `"${path}" is on a disk, where no secret is written in plain text`, {
      hint: "choose a path on a tmpfs, such as /run or /dev/shm, or leave the share sealed",
    });
  }
  if (isMapped) await chown(path, ownUid(), gid);
  const share = new PlainShare(join(path, FILES), by === "9p" ? mapped(gid) : asTheyAre);
  await share.begin();
  return share;
}

class PlainShare implements Share {
  readonly exported: string;
  readonly #look: Look;
  readonly #sets: string;
  readonly #link: string;
  /** Of each set that was replaced and still is there. */
  readonly #leaving = new Set<Promise<void>>();
  readonly #hurry = new AbortController();

  constructor(exported: string, look: Look) {
    this.exported = exported;
    this.#look = look;
    this.#sets = join(exported, SHARED_SETS);
    this.#link = join(exported, SHARED_CURRENT);
  }

  /** Makes what is missing, and removes sets that a process before this one left. */
  async begin(): Promise<void> {
    unlessThere(() => this.#look.root(this.exported));
    unlessThere(() => this.#look.folder(this.#sets, PASSABLE));
    const shown = this.#shown();
    for (const revision of readdirSync(this.#sets)) {
      if (revision !== shown && !revision.startsWith(".")) await this.#remove(revision);
    }
    await removeTree(`${this.#link}.next`);
  }

  async replace(fill: Fill): Promise<boolean> {
    const before = this.#shown();
    let after: string | undefined;
    const writer = new SetWriter(this.#look, ({ revision }) => {
      if (revision === before) return undefined;
      after = revision;
      return join(this.exported, linkTo(revision));
    });
    const reader = new BundleReader(writer);
    try {
      if (!(await fill((bytes) => reader.push(bytes)))) return false;
      reader.end();
      if (after !== undefined) this.#look.link(this.#link, linkTo(after));
    } catch (cause) {
      writer.abandon();
      if (after !== undefined) await this.#remove(after);
      throw problem(this.exported, cause);
    }
    if (before !== undefined && after !== undefined) this.#retire(before);
    return true;
  }

  async clear(): Promise<void> {
    for (const path of [this.#link, ...this.#look.companions(this.#link)]) await removeTree(path);
    for (const revision of readdirSync(this.#sets)) await removeTree(join(this.#sets, revision));
  }

  async settled(): Promise<void> {
    await Promise.all(this.#leaving);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#hurry.abort();
    await this.settled();
  }

  /** The revision that the link shows. */
  #shown(): string | undefined {
    try {
      return revisionOfLink(this.#look.target(this.#link));
    } catch (error) {
      if (isErrno(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  #retire(revision: string): void {
    const { signal } = this.#hurry;
    const gone = sleep(SHARE_HOLD, undefined, { signal })
      .catch(ignoreAbort)
      .then(() => this.#remove(revision));
    this.#leaving.add(gone);
    // One that could not be removed is told by `settled`.
    gone.then(
      () => this.#leaving.delete(gone),
      () => undefined,
    );
  }

  async #remove(revision: string): Promise<void> {
    const path = join(this.#sets, revision);
    for (const one of [path, ...this.#look.companions(path)]) await removeTree(one);
  }
}

/** Makes `path` a folder of ours with that mode, or checks that it is one and holds nothing but these names; whether it was made. */
async function ownFolder(path: string, mode: number, names: readonly string[]): Promise<boolean> {
  let isNew = true;
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (cause) {
    if (!isErrno(cause, "EEXIST")) throw problem(path, cause);
    isNew = false;
  }
  const stat = await lstat(path);
  if (!stat.isDirectory()) throw new HatchwayError("invalid", `"${path}" is not a directory`);
  if (stat.uid !== ownUid()) {
    throw new HatchwayError("forbidden", `"${path}" belongs to uid ${stat.uid}, not to uid ${ownUid()}`);
  }
  const other = (await readdir(path)).find((name) => !names.includes(name));
  if (other !== undefined) {
    throw new HatchwayError("exists", `"${path}" holds "${other}", which is not of such a share`, {
      hint: "choose a folder that is empty, or not there",
    });
  }
  await chmod(path, mode);
  return isNew;
}

function unlessThere(make: () => void): void {
  try {
    make();
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
}

function problem(path: string, cause: unknown): unknown {
  if (!(cause instanceof Error) || !("syscall" in cause)) return cause;
  return new HatchwayError("unavailable", `cannot write the share "${path}": ${errnoText(cause)}`, { cause });
}

function ignoreAbort(error: unknown): void {
  if ((error as Error).name !== "AbortError") throw error;
}
