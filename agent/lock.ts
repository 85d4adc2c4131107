// One agent at a time changes a root: an flock on .agent/lock, whose first line says who has it.
import type { Root } from "./root.ts";
import type { Fd, Sys } from "./sys.ts";
import { decodeUtf8, encodeUtf8 } from "./text.ts";
import { readFile, writeAll } from "./tree.ts";

const FILE = "lock";
const LINE = 20;

export type Role = "run" | "sync";

/** Takes the lock for the life of this process; false when another agent has it. */
export function takeLock(sys: Sys, root: Root, role: Role): boolean {
  const fd: Fd = sys.openat(root.agent, FILE, sys.O_RDWR | sys.O_CREAT | sys.O_NOFOLLOW, 0o600);
  if (!sys.flock(fd)) {
    sys.close(fd);
    return false;
  }
  // Every line is as long as any other: written over the one before, it needs no truncation.
  writeAll(sys, fd, encodeUtf8(`${role} ${sys.getpid()}`.padEnd(LINE - 1).concat("\n")));
  return true;
}

/** Who took the lock last: it means something only while `takeLock` fails. */
export function lockHolder(sys: Sys, root: Root): { role: Role; pid: number } | undefined {
  const match = /^(run|sync) ([1-9][0-9]{0,9}) *\n$/.exec(decodeUtf8(readFile(sys, root.agent, FILE, LINE)));
  return match ? { role: match[1] as Role, pid: Number(match[2]) } : undefined;
}
