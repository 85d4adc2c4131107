import { closeSync, existsSync, fsyncSync, linkSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { HatchwayError } from "#error";
import { Interrupted } from "./failure.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Writes what comes to a new file, 0600, which has its name only once all of it is on disk. Throws "exists" for a name
 * that is taken; whatever else ends it before, but SIGKILL, leaves nothing.
 */
export async function writeWhole(path: string, pieces: AsyncIterable<Buffer>): Promise<void> {
  mustBeFree(path);
  const partial = `${path}.${process.pid}.partial`;
  const interrupted = Promise.withResolvers<never>();
  let isOver = false;
  const interrupt = (): void => interrupted.reject(new Interrupted("interrupted"));
  for (const signal of SIGNALS) process.on(signal, interrupt);
  let file: number | undefined;
  try {
    file = openSync(partial, "wx", 0o600);
    await Promise.race([copy(pieces, file, () => isOver), interrupted.promise]);
    fsyncSync(file);
    giveName(partial, path);
    syncFolder(dirname(path));
  } catch (cause) {
    const { code, name } = cause as NodeJS.ErrnoException;
    if (name === "HatchwayError" || cause instanceof Interrupted) throw cause;
    throw new HatchwayError("invalid", `cannot write "${path}": ${code ?? "unknown"}`, { cause });
  } finally {
    isOver = true;
    for (const signal of SIGNALS) process.off(signal, interrupt);
    if (file !== undefined) {
      closeSync(file);
      rmSync(partial, { force: true });
    }
  }
}

/** Refuses a name that is taken, before anything is asked of the daemon too. */
export function mustBeFree(path: string): void {
  if (existsSync(path)) throw new HatchwayError("exists", `there is a file "${path}" already`);
}

async function copy(pieces: AsyncIterable<Buffer>, file: number, isOver: () => boolean): Promise<void> {
  for await (const piece of pieces) {
    if (isOver()) return;
    for (let at = 0; at < piece.length;) at += writeSync(file, piece, at);
  }
}

/** Never over another file; a file system without hard links has only the look before (rename(2)). */
function giveName(partial: string, path: string): void {
  try {
    linkSync(partial, path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST") throw new HatchwayError("exists", `there is a file "${path}" already`, { cause });
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "EOPNOTSUPP" && code !== "ENOSYS") throw cause;
    mustBeFree(path);
    renameSync(partial, path);
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
