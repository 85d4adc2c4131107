// Files that are made ready beside their place, in the folder itself, so that one rename(2) shows them. What a killed
// process left is told apart by its name, in which RANDOM is 12 hex digits:
//
//   .hatchway-new-RANDOM=NAME         the next file of the secret NAME
//   .hatchway-new-RANDOM=NAME=FROM    the same, of a secret that was called FROM
//   .hatchway-gone-RANDOM=NAME        another link to the file of a secret that is being removed
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { link, lstat, open, readdir, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { isErrno } from "#host/files";
import type { Attributes } from "./attributes.ts";

/** Begins the names of all files that are the folder's own. */
export const OWN = ".hatchway-";
const MARK = /^\.hatchway-(new|gone)-[0-9a-f]{12}=([^=]+)(?:=([^=]+))?$/;

export interface Leftover {
  kind: "new" | "gone";
  path: string;
  name: string;
  from?: string;
}

/** Writes a file to be put into its place later; durable, with its mode and owner, before this resolves. */
export async function stage(
  folder: string,
  name: string,
  value: Buffer,
  { mode, uid, gid }: Attributes,
  from?: string,
): Promise<string> {
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  const path = join(folder, `${OWN}new-${random()}=${name}${from === undefined ? "" : `=${from}`}`);
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    await file.writeFile(value);
    const made = await file.stat();
    // Who is not root may not give a file away, nor take the right to.
    if (made.uid !== uid || made.gid !== gid) await file.chown(uid, gid);
    await file.chmod(mode);
    await file.sync();
  } catch (error) {
    await unlink(path);
    throw error;
  } finally {
    await file.close();
  }
  return path;
}

/** Keeps hold of a file that is to go: its link, or undefined where there is none. */
export async function hold(folder: string, name: string): Promise<string | undefined> {
  const path = join(folder, `${OWN}gone-${random()}=${name}`);
  try {
    await link(join(folder, name), path);
    return path;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** Gives a file that is to go the name of one that is held, so that its place is empty. */
export async function setAside(folder: string, name: string): Promise<string> {
  const path = join(folder, `${OWN}gone-${random()}=${name}`);
  await rename(join(folder, name), path);
  return path;
}

/**
 * Writes zeroes over what a file holds, and removes it. A disk that writes elsewhere (flash, a journal, snapshots) may
 * keep the old bytes.
 */
export async function erase(path: string): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    await file.write(Buffer.alloc(size), 0, size, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await unlink(path);
}

/** Takes the file away that is held, unless another has its name by now. */
export async function drop(folder: string, name: string, held: string): Promise<void> {
  const path = join(folder, name);
  if (await isSame(path, held)) await discard(path);
  await discard(held);
}

export async function place(staged: string, folder: string, name: string): Promise<void> {
  await rename(staged, join(folder, name));
}

export async function discard(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
}

/** What a process left that was killed, in no order. */
export async function leftovers(folder: string): Promise<Leftover[]> {
  return (await readdir(folder)).flatMap((file) => {
    const [, kind, name, from] = MARK.exec(file) ?? [];
    if ((kind !== "new" && kind !== "gone") || name === undefined) return [];
    return [{ kind, path: join(folder, file), name, ...(from !== undefined && { from }) }];
  });
}

async function isSame(path: string, other: string): Promise<boolean> {
  try {
    const [a, b] = await Promise.all([lstat(path, { bigint: true }), lstat(other, { bigint: true })]);
    return a.ino === b.ino && a.dev === b.dev;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}

function random(): string {
  return randomBytes(6).toString("hex");
}
