import { constants } from "node:fs";
import { open, readdir, rmdir, unlink } from "node:fs/promises";
import { HatchwayError } from "#error";
import { isErrno } from "#host/files";

/** Folders in folders, at most: each takes a descriptor of ours while it is emptied. */
const MAX_DEPTH = 32;
/** A folder that is filled while it is emptied is tried so often. */
const MAX_ROUNDS = 8;

/**
 * Removes a folder and all that is in it, while somebody else may write in it. fs.rm goes by paths, so who swaps a
 * folder for a symlink at the right moment would make it remove what the link points to; here each folder is held open,
 * and no link is followed. A path that is not there is no fault. Throws HatchwayError "unavailable" for a tree that is
 * too deep, or that grows as fast as it goes.
 */
export async function removeTree(path: string): Promise<void> {
  await remove(Buffer.from(path), 0);
}

async function remove(path: Buffer, depth: number): Promise<void> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    if (await tryRemove(path, depth)) return;
  }
  throw new HatchwayError("unavailable", `"${path.toString()}" cannot be removed: it is filled all the time`);
}

/** False if it changed meanwhile, and is to be looked at anew. */
async function tryRemove(path: Buffer, depth: number): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return true;
    if (!isErrno(error, "EISDIR")) throw error;
  }
  if (depth === MAX_DEPTH) {
    throw new HatchwayError(
      "unavailable",
      `"${path.toString()}" cannot be removed: more than ${MAX_DEPTH} folders deep`,
    );
  }
  try {
    await empty(path, depth);
    await rmdir(path);
    return true;
  } catch (error) {
    // Something was put in, or the folder was swapped for what is none.
    if (["ENOTEMPTY", "ENOTDIR", "ELOOP", "ENOENT"].some((code) => isErrno(error, code))) return false;
    throw error;
  }
}

async function empty(path: Buffer, depth: number): Promise<void> {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
  const folder = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    // The folder that is open, whatever its path leads to by now: proc(5).
    const held = Buffer.from(`/proc/self/fd/${folder.fd}/`);
    for (const name of await readdir(held, { encoding: "buffer" })) {
      await remove(Buffer.concat([held, name]), depth + 1);
    }
  } finally {
    await folder.close();
  }
}
