// One file of the folder, looked at by descriptor: whole, or not at all.
import { constants, type BigIntStats } from "node:fs";
import { lstat, open, type FileHandle } from "node:fs/promises";
import { errnoText, isErrno } from "#host/files";
import { takeReadLease } from "#host/lease";
import { MAX_ID, MAX_VALUE_SIZE } from "#protocol/names";
import { valueBuffer } from "#value-buffer";
import type { Attributes } from "./attributes.ts";

export type Entry =
  | { kind: "missing" }
  /** Somebody has it open for writing, or changed it while it was read. */
  | { kind: "written" }
  /** It can be no secret; `why` follows its name. */
  | { kind: "refused"; why: string; signature: string }
  /** `leased`: nobody was writing; else it is only known that nothing changed while it was read. The caller wipes. */
  | { kind: "read"; value: Buffer; attributes: Attributes; signature: string; leased: boolean };

/** Throws what open(2) and read(2) do for want of descriptors or memory, or for a disk that fails. */
export async function readEntry(path: string): Promise<Entry> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  let file: FileHandle | undefined;
  try {
    // Nothing but a regular file is opened, since to open may be to act, on a device or a fifo.
    const before = await lstat(path, { bigint: true });
    const why = problemOf(before);
    if (why !== undefined) return { kind: "refused", why, signature: signatureOf(before) };
    file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    return await readFile(file);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return { kind: "missing" };
    if (isErrno(error, "ELOOP")) return { kind: "written" };
    if (!isErrno(error, "EACCES") && !isErrno(error, "EPERM")) throw error;
    return { kind: "refused", why: `cannot be read: ${errnoText(error)}`, signature: await signatureAt(path) };
  } finally {
    // With it ends the lease.
    await file?.close();
  }
}

async function readFile(file: FileHandle): Promise<Entry> {
  const lease = takeReadLease(file.fd);
  if (lease === "written") return { kind: "written" };
  const before = await file.stat({ bigint: true });
  const signature = signatureOf(before);
  const why = problemOf(before);
  if (why !== undefined) return { kind: "refused", why, signature };
  const size = Number(before.size);
  const value = valueBuffer(size);
  const length = await readWhole(file, value);
  if (length !== size || signatureOf(await file.stat({ bigint: true })) !== signature) {
    value.fill(0);
    return { kind: "written" };
  }
  const attributes = { mode: Number(before.mode & 0o777n), uid: Number(before.uid), gid: Number(before.gid) };
  return { kind: "read", value, attributes, signature, leased: lease === "held" };
}

async function readWhole(file: FileHandle, value: Buffer): Promise<number> {
  let length = 0;
  while (length < value.length) {
    const { bytesRead } = await file.read(value, length, value.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return length;
}

/** What changes with every change of a file, of its name's target included, as far as stat(2) tells. */
export function signatureOf(stat: BigIntStats): string {
  const { dev, ino, size, mtimeNs, ctimeNs, mode, uid, gid, nlink } = stat;
  return [dev, ino, size, mtimeNs, ctimeNs, mode, uid, gid, nlink].join(":");
}

/** "missing" where there is nothing. */
export async function signatureAt(path: string): Promise<string> {
  try {
    return signatureOf(await lstat(path, { bigint: true }));
  } catch (error) {
    if (isErrno(error, "ENOENT")) return "missing";
    throw error;
  }
}

function problemOf(stat: BigIntStats): string | undefined {
  const kind = kindOf(stat);
  if (kind !== undefined) return `is a ${kind}: it should be a regular file`;
  if (stat.nlink > 1n) return `has ${stat.nlink} names (hard links): it should have one`;
  if (stat.size > BigInt(MAX_VALUE_SIZE)) return `has ${stat.size} bytes, more than ${MAX_VALUE_SIZE} (1 MiB)`;
  if ((stat.mode & 0o7000n) !== 0n) {
    return `has mode ${(stat.mode & 0o7777n).toString(8)}: the set-uid, set-gid and sticky bits should not be set`;
  }
  if (stat.uid > BigInt(MAX_ID) || stat.gid > BigInt(MAX_ID)) {
    return `belongs to ${stat.uid}:${stat.gid}: ids are at most ${MAX_ID}`;
  }
  return undefined;
}

function kindOf(stat: BigIntStats): string | undefined {
  if (stat.isFile()) return undefined;
  if (stat.isSymbolicLink()) return "symbolic link";
  if (stat.isDirectory()) return "directory";
  if (stat.isFIFO()) return "fifo";
  return stat.isSocket() ? "socket" : "device";
}
