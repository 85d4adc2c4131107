// Files that only root may have written or read.
import { AgentError } from "./error.ts";
import { reading } from "./reading.ts";
import { HERE, type Fd, type Stat, type Sys } from "./sys.ts";
import { isType, readAll, S_IFREG, using } from "./tree.ts";

/** Opens a file of root's, 0600. Throws AgentError "machine" for what is not one, "host-gone" where there is none. */
export function openPrivate(sys: Sys, path: string): Fd {
  const flags = sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK;
  const fd = reading(`"${path}"`, () => sys.openat(HERE, path, flags));
  const stat = sys.fstat(fd);
  if (isType(stat, S_IFREG) && isRoots(stat, 0o077)) return fd;
  sys.close(fd);
  const wanted = isType(stat, S_IFREG) ? `root's alone, 0600, ${describeOwner(stat)}` : "a file";
  throw new AgentError("machine", `"${path}" should be ${wanted}`);
}

/** What is in it, for the caller to wipe. */
export function readPrivate(sys: Sys, path: string, most: number): Uint8Array {
  return using(sys, openPrivate(sys, path), (fd) => readAll(sys, fd, most, path));
}

/** Whether it is root's, without these bits for anybody else. */
export function isRoots({ uid, mode }: Stat, others: number): boolean {
  return uid === 0 && (mode & others) === 0;
}

export function describeOwner({ uid, mode }: Stat): string {
  return `it is uid ${uid}'s, mode ${(mode & 0o777).toString(8)}`;
}
