// Where a store lies: a file (0600) in a directory (0700), both of the user whose process it is.

import { constants } from "node:fs";
import { lstat, mkdir, open, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { HatchwayError } from "#error";

/**
 * Refuses a place that others can read or change ("forbidden") or, without `create`, one that is not there
 * ("not-found"). With `create` the directory and an empty file are made if they are missing. The lock's file is made.
 *
 * A file that is there is never opened: closing it would let go of the POSIX locks that SQLite holds on it in this
 * process (fcntl(2)).
 */
export async function checkPlace(path: string, create: boolean): Promise<void> {
  const directory = dirname(resolve(path));
  try {
    checkDirectory(directory, await stat(directory));
  } catch (error) {
    mustBeMissing(path, create, error);
    await makeDirectory(directory);
  }
  try {
    checkFile(path, await lstat(path));
  } catch (error) {
    mustBeMissing(path, create, error);
    await makeFile(path);
  }
  await makeFile(lockFile(path));
}

/** The empty file beside the store at `path` that is locked while it is open. */
export function lockFile(path: string): string {
  return `${path}.lock`;
}

/** Makes a directory (0700), and those above it that are missing. */
async function makeDirectory(path: string): Promise<void> {
  try {
    const first = (await mkdir(path, { recursive: true, mode: 0o700 })) ?? path;
    for (let made = path; made.length >= first.length; made = dirname(made)) await syncDirectory(dirname(made));
  } catch (error) {
    throw unusable(path, error);
  }
  checkDirectory(path, await stat(path));
}

/** Makes an empty file (0600) unless there is one. */
async function makeFile(path: string): Promise<void> {
  try {
    const file = await open(path, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600);
    await file.close();
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw unusable(path, error);
    checkFile(path, await lstat(path));
    return;
  }
  await syncDirectory(dirname(path));
}

interface Status {
  uid: number;
  mode: number;
  nlink: number;
  isDirectory(): boolean;
  isFile(): boolean;
  isSymbolicLink(): boolean;
}

function checkDirectory(path: string, status: Status): void {
  if (!status.isDirectory()) throw new HatchwayError("forbidden", `"${path}" is not a directory`);
  checkOwner(`directory "${path}"`, path, status, 0o700);
}

function checkFile(path: string, status: Status): void {
  if (status.isSymbolicLink()) {
    throw new HatchwayError("forbidden", `store "${path}" is a symbolic link: it should be a file`);
  }
  if (!status.isFile()) throw new HatchwayError("forbidden", `store "${path}" is not a file`);
  if (status.nlink > 1) {
    throw new HatchwayError("forbidden", `store "${path}" has ${status.nlink} names: it should have one`);
  }
  checkOwner(`store "${path}"`, path, status, 0o600);
}

function checkOwner(what: string, path: string, { uid, mode }: Status, most: number): void {
  const ours = process.geteuid?.() ?? uid;
  if (uid !== ours) {
    throw new HatchwayError("forbidden", `${what} belongs to uid ${uid}: it should belong to uid ${ours}`);
  }
  if ((mode & 0o077) !== 0) {
    throw new HatchwayError("forbidden", `${what} has mode ${octal(mode)}: it should be ${octal(most)}`, {
      hint: `chmod ${octal(most)} ${path}`,
    });
  }
}

/** A new name is durable when its directory is synced (fsync(2)). */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function mustBeMissing(path: string, create: boolean, error: unknown): void {
  if (error instanceof HatchwayError) throw error;
  if (!hasCode(error, "ENOENT")) throw unusable(path, error);
  if (!create) throw new HatchwayError("not-found", `store "${path}" does not exist`, { cause: error });
}

function unusable(path: string, cause: unknown): HatchwayError {
  const why = cause instanceof Error ? cause.message : "unknown error";
  return new HatchwayError("forbidden", `store "${path}" cannot be used: ${why}`, { cause });
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

function octal(mode: number): string {
  return `0${(mode & 0o777).toString(8)}`;
}
