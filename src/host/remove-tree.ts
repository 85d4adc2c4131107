import { execFile } from "node:child_process";
import { unlink } from "node:fs/promises";
import { HatchwayError } from "#error";
import { isErrno } from "#host/files";

/**
 * Removes what is at `path`, a folder with all that is in it, while somebody else may write in there. Whoever deletes by
 * path could be led astray by a link that takes the place of a folder at the right moment: rm(1) goes by descriptor and
 * follows none, fs.rm() does not. A path that is not there is no fault. Throws HatchwayError "unavailable" with rm's words.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return;
    if (!isErrno(error, "EISDIR")) throw error;
    await removeFolder(path);
  }
}

function removeFolder(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile("rm", ["-rf", "--one-file-system", "--", path], (cause, _stdout, words) => {
      if (!cause) return resolve();
      reject(new HatchwayError("unavailable", `cannot remove "${path}": ${words.trim()}`, { cause }));
    });
  });
}
