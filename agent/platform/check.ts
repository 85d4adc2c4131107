import { SysError, type Stat } from "#agent/sys";

/** The result of a call that gives -errno when it fails; throws that as SysError. */
export function check<T>(call: string, result: T | number): T {
  if (typeof result === "number" && result < 0) throw new SysError(call, -result);
  return result as T;
}

/** As `check`, for a call that answers a question: false for the given errno. */
export function ask(call: string, result: number, no: readonly number[]): boolean {
  if (result < 0 && no.includes(-result)) return false;
  check(call, result);
  return true;
}

export function statOf(fields: readonly [number, number, number, number, number, number, number]): Stat {
  const [mode, uid, gid, size, links, mtime, inode] = fields;
  return { mode, uid, gid, size, links, mtime, inode };
}

/** errno of "another has it": EACCES, EAGAIN. */
export const TAKEN: readonly number[] = [11, 13];
