// The audit trail as files: the one that grows, and those that were full, each a file of whole lines.
//
//   audit.jsonl.0000000000000000   the first bytes of the trail
//   audit.jsonl.0000000067108912   from byte 67,108,912 on
//   audit.jsonl                    what comes after the last of those
//
// An offset counts from the trail's first byte, through all files, so that a place in the trail stays what it is when
// the file is renamed. The oldest files may be taken away; the newest full one says where `audit.jsonl` begins.
import { constants, type Stats } from "node:fs";
import { open, readdir, rename, stat, type FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { HatchwayError } from "#error";
import { errnoText, isErrno, syncFolder } from "#host/files";

/** Bytes of one read, and of the longest line that can be one of ours. */
const CHUNK = 262_144;

/** One file of the trail, as it is now. */
export interface Segment {
  path: string;
  /** The trail's offset of its first byte. */
  start: number;
  size: number;
  inode: number;
}

/** The line between two offsets, without its newline. */
export interface RawLine {
  text: string;
  start: number;
  end: number;
}

/** Opens the file that grows; makes it where there is none. Throws "unavailable". */
export async function openFile(path: string): Promise<FileHandle> {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_RDWR } = constants;
  try {
    return await open(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
  } catch (cause) {
    throw new HatchwayError("unavailable", `the audit trail "${path}" cannot be opened: ${errnoText(cause)}`, {
      cause,
    });
  }
}

/** Puts the file that grows aside under the offset of its first byte, and opens an empty one. */
export async function rotate(path: string, start: number): Promise<FileHandle> {
  await rename(path, fullFile(path, start));
  const next = await openFile(path);
  await syncFolder(dirname(path));
  return next;
}

export function fullFile(path: string, start: number): string {
  return `${path}.${String(start).padStart(16, "0")}`;
}

/** The trail's files, oldest first, the one that grows last. Throws "corrupt" where one is missing between others. */
export async function segmentsOf(path: string): Promise<Segment[]> {
  const name = `${basename(path)}.`;
  const starts = (await readdir(dirname(path)))
    .filter((file) => file.startsWith(name) && /^[0-9]{16}$/.test(file.slice(name.length)))
    .map((file) => Number(file.slice(name.length)))
    .sort((a, b) => a - b);
  const segments: Segment[] = [];
  for (const start of [...starts, undefined]) {
    const end = endOf(segments);
    if (start !== undefined && segments.length > 0 && start !== end) {
      throw new HatchwayError("corrupt", `the audit trail "${path}" lacks what was between bytes ${end} and ${start}`);
    }
    const file = start === undefined ? path : fullFile(path, start);
    const found = await statOf(file);
    if (found) segments.push({ path: file, start: start ?? end, size: found.size, inode: found.ino });
  }
  return segments;
}

export function endOf(segments: readonly Segment[]): number {
  const last = segments.at(-1);
  return last ? last.start + last.size : 0;
}

/** The whole lines from `from`, where a line begins, up to `to`; one that was not finished is not among them. */
export async function* linesOf(
  segments: readonly Segment[],
  from: number,
  to: number = endOf(segments),
): AsyncGenerator<RawLine> {
  for (const segment of segments) {
    const { path, start, size } = segment;
    const end = Math.min(start + size, to);
    if (end <= from || (size === 0 && segment !== segments.at(-1))) continue;
    await using file = await openSegment(segment);
    let at = Math.max(from, start);
    for (;;) {
      const bytes = Buffer.alloc(Math.min(CHUNK, end - at));
      const { bytesRead } = await file.read(bytes, 0, bytes.length, at - start);
      const used = yield* linesIn(bytes.subarray(0, bytesRead), at);
      if (used > 0) at += used;
      else if (at === end) break;
      else if (segment === segments.at(-1) && bytesRead < CHUNK) return;
      else throw new HatchwayError("corrupt", `the audit trail "${path}" has a line without an end at byte ${at}`);
    }
  }
}

function* linesIn(bytes: Buffer, start: number): Generator<RawLine, number> {
  let at = 0;
  for (let newline = bytes.indexOf(0x0a); newline >= 0; newline = bytes.indexOf(0x0a, at)) {
    yield { text: bytes.toString("utf8", at, newline), start: start + at, end: start + newline + 1 };
    at = newline + 1;
  }
  return at;
}

/** Where the last `count` lines before `to` begin. */
export async function startOfLast(segments: readonly Segment[], count: number, to: number): Promise<number> {
  const first = segments[0]?.start ?? 0;
  if (count <= 0) return to;
  for (let span = count * 512; ; span *= 4) {
    const from = Math.max(first, to - span);
    const starts: number[] = [];
    for await (const line of linesOf(segments, from, to)) starts.push(line.start);
    // Unless it is the trail's beginning, what is first may be the rest of a line.
    const whole = from === first ? starts : starts.slice(1);
    if (whole.length >= count || from === first) return whole.at(-count) ?? whole[0] ?? to;
  }
}

/** Opens a file of the trail, also where it was put aside since it was looked at. */
async function openSegment({ path, start, inode }: Segment): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW;
  const file = await open(path, flags);
  if ((await file.stat()).ino === inode) return file;
  await file.close();
  return open(fullFile(path, start), flags);
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return undefined;
    throw new HatchwayError("unavailable", `the audit trail "${path}" cannot be read: ${errnoText(cause)}`, {
      cause,
    });
  }
}
