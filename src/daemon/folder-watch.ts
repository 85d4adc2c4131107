import { statSync, watch, type FSWatcher } from "node:fs";
import { isErrno } from "#host/files";

/** Milliseconds of quiet after a change: files that belong together come one after the other. */
const QUIET = 150;
/** Milliseconds: what no event tells of, such as the other end of a link or a folder of a network, is seen by then. */
const RESCAN = 30_000;

interface Watched {
  watcher: FSWatcher;
  /** Of the folder that is watched, which may not be the one of that name any more. */
  inode: bigint;
}

/**
 * Calls `changed` some time after something changes in one of the folders, and now and then without that. A folder that
 * is not there, or is replaced, is watched from the next call on. Keeps no process alive.
 */
export class FolderWatch implements Disposable {
  readonly #folders: readonly string[];
  readonly #changed: () => void;
  readonly #watched = new Map<string, Watched>();
  readonly #rescan: NodeJS.Timeout;
  #quiet: NodeJS.Timeout | undefined;

  constructor(folders: readonly string[], changed: () => void) {
    this.#folders = [...new Set(folders)];
    this.#changed = changed;
    this.#rescan = setInterval(() => this.#call(), RESCAN).unref();
    this.#arm();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#rescan);
    clearTimeout(this.#quiet);
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }

  #call(): void {
    this.#arm();
    this.#changed();
  }

  #soon(): void {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.#call(), QUIET).unref();
  }

  #arm(): void {
    for (const folder of this.#folders) {
      const inode = statSync(folder, { bigint: true, throwIfNoEntry: false })?.ino;
      const before = this.#watched.get(folder);
      if (before?.inode === inode) continue;
      before?.watcher.close();
      this.#watched.delete(folder);
      if (inode !== undefined) this.#watch(folder, inode);
    }
  }

  #watch(folder: string, inode: bigint): void {
    try {
      const watcher = watch(folder, { persistent: false }, () => this.#soon());
      watcher.on("error", () => this.#watched.delete(folder));
      this.#watched.set(folder, { watcher, inode });
    } catch (error) {
      // No watch is left of the user's, or the folder is gone again: the rescan does without.
      if (!isErrno(error, "ENOENT") && !isErrno(error, "ENOSPC") && !isErrno(error, "EMFILE")) throw error;
    }
  }
}
