// Files that nobody else may read or swap: keys, the keyring, sockets' folders. All paths are absolute.
import { constants } from "node:fs";
import { chmod, lstat, mkdir, open, rename, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { HatchwayError } from "#error";
import { valueBuffer } from "#value-buffer";

/** The user that this process acts as. */
export function ownUid(): number {
  return process.geteuid?.() ?? 0;
}

/** Makes `path` a folder of ours with mode 0700, or checks that it is one. */
export async function privateDirectory(path: string, mode = 0o700): Promise<void> {
  await mkdir(path, { recursive: true, mode });
  const stat = await lstat(path);
  if (!stat.isDirectory()) throw new HatchwayError("invalid", `"${path}" is not a directory`);
  if (stat.uid !== ownUid()) {
    throw new HatchwayError("forbidden", `"${path}" belongs to uid ${stat.uid}, not to uid ${ownUid()}`, {
      hint: "run as its owner, or choose another state directory",
    });
  }
  if ((stat.mode & 0o777) !== mode) await chmod(path, mode);
}

/**
 * Reads a file of at most `limit` bytes that only its owner can read, and that is ours or root's. Undefined where there
 * is none. The caller wipes the buffer.
 */
export async function readPrivateFile(path: string, limit: number): Promise<Buffer | undefined> {
  const { O_RDONLY, O_NOFOLLOW } = constants;
  let file;
  try {
    file = await open(path, O_RDONLY | O_NOFOLLOW);
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return undefined;
    throw new HatchwayError("unavailable", `cannot read "${path}": ${errnoText(cause)}`, { cause });
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new HatchwayError("invalid", `"${path}" is not a regular file`);
    if (stat.uid !== ownUid() && stat.uid !== 0) {
      throw new HatchwayError("forbidden", `"${path}" belongs to uid ${stat.uid}, not to uid ${ownUid()}`);
    }
    if ((stat.mode & 0o077) !== 0) {
      throw new HatchwayError(
        "forbidden",
        `"${path}" is open to others: its mode is 0${(stat.mode & 0o777).toString(8)}`,
        {
          hint: `chmod 600 ${path}`,
        },
      );
    }
    if (stat.size > limit) throw new HatchwayError("invalid", `"${path}" has ${stat.size} bytes, more than ${limit}`);
    const bytes = valueBuffer(stat.size);
    const { bytesRead } = await file.read(bytes, 0, stat.size, 0);
    if (bytesRead !== stat.size) throw new HatchwayError("unavailable", `"${path}" changed while it was read`);
    return bytes;
  } finally {
    await file.close();
  }
}

/**
 * Replaces `path` with `bytes`, mode 0600, so that after a power loss there is the old or the new file. Throws
 * HatchwayError "unavailable"; there is the old or the new file then as well, and it may be tried again.
 */
export async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  try {
    await replaceFile(path, bytes);
  } catch (cause) {
    throw new HatchwayError("unavailable", `cannot write "${path}": ${errnoText(cause)}`, { cause });
  }
}

async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  const next = `${path}.next`;
  try {
    await unlink(next);
  } catch (cause) {
    if (!isErrno(cause, "ENOENT")) throw cause;
  }
  const file = await open(next, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    await file.writeFile(bytes);
    await file.datasync();
  } finally {
    await file.close();
  }
  await rename(next, path);
  await syncFolder(dirname(path));
}

/** Makes what was renamed or made in `path` outlive a power loss. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  await folder.sync();
}

export function isErrno(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === code;
}

/** An errno in words that hold no path: `ENOSPC: no space left on device`. */
export function errnoText(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.message.split(",")[0] ?? "unknown") : "unknown";
}
