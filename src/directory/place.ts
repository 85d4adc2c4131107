// The folder itself, and the mark in it that says whose it is: without it an empty mount point would look as if all
// secrets had been removed.
import { constants } from "node:fs";
import { lstat, mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { HatchwayError } from "#error";
import { errnoText, isErrno, ownUid, syncFolder } from "#host/files";
import { discard, OWN } from "./staging.ts";

const MARK = `${OWN}store`;

/** Makes the folder (0700) where there is none. Throws "forbidden" for a symlink, a file, or a folder of somebody else. */
export async function openFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
    await syncFolder(dirname(path));
  } catch (cause) {
    if (!isErrno(cause, "EEXIST")) {
      throw new HatchwayError("unavailable", `cannot make the folder "${path}": ${errnoText(cause)}`, { cause });
    }
  }
  const stat = await lstat(path);
  if (!stat.isDirectory()) throw new HatchwayError("forbidden", `"${path}" is not a folder`);
  if (stat.uid !== ownUid() && stat.uid !== 0) {
    throw new HatchwayError("forbidden", `"${path}" belongs to uid ${stat.uid}: it should belong to uid ${ownUid()}`, {
      hint: `chown ${ownUid()} ${path}`,
    });
  }
}

/** The id of the store that the folder belongs to. */
export async function readMark(folder: string): Promise<string | undefined> {
  try {
    await using file = await open(join(folder, MARK), constants.O_RDONLY | constants.O_NOFOLLOW);
    return (await file.readFile("utf8")).trim();
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

export async function writeMark(folder: string, id: string): Promise<void> {
  const { O_CREAT, O_TRUNC, O_NOFOLLOW, O_WRONLY } = constants;
  await using file = await open(join(folder, MARK), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
  await file.writeFile(`${id}\n`);
  await file.sync();
  await syncFolder(folder);
}

export async function removeMark(folder: string): Promise<void> {
  await discard(join(folder, MARK));
  await syncFolder(folder);
}
