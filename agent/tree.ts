// Files below a held directory. Nothing here follows a symlink, and names are single components unless said.
import { AgentError } from "./error.ts";
import { failedWith, type Fd, type Stat, type Sys } from "./sys.ts";

/** st_mode's type bits. */
export const S_IFMT = 0o170000;
export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;
export const S_IFLNK = 0o120000;

export function isType(stat: Stat, type: number): boolean {
  return (stat.mode & S_IFMT) === type;
}

/** Runs `use` with a descriptor, which is closed whatever happens. */
export function using<T>(sys: Sys, fd: Fd, use: (fd: Fd) => T): T {
  try {
    return use(fd);
  } finally {
    sys.close(fd);
  }
}

export function openDirectory(sys: Sys, dir: Fd, path: string): Fd {
  return sys.openat(dir, path, sys.O_RDONLY | sys.O_DIRECTORY | sys.O_NOFOLLOW);
}

/** The directory `components` below `base`, made where it is missing, each 0711; the last one's descriptor. */
export function makeDirectories(sys: Sys, base: Fd, components: readonly string[]): Fd {
  let at = openDirectory(sys, base, ".");
  for (const component of components) {
    at = using(sys, at, (parent) => makeDirectory(sys, parent, component, 0o711));
  }
  return at;
}

/** Makes a directory with exactly this mode unless it is there; its descriptor. */
export function makeDirectory(sys: Sys, parent: Fd, name: string, mode: number): Fd {
  let made = true;
  try {
    sys.mkdirat(parent, name, mode);
  } catch (error) {
    if (!failedWith(error, "EEXIST")) throw error;
    made = false;
  }
  const fd = openDirectory(sys, parent, name);
  if (made) sys.fchmod(fd, mode);
  return fd;
}

/** The stat of what is there, undefined when nothing is. */
export function statOrNone(sys: Sys, dir: Fd, path: string): Stat | undefined {
  try {
    return sys.fstatat(dir, path);
  } catch (error) {
    if (failedWith(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}

export function writeAll(sys: Sys, fd: Fd, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += sys.write(fd, bytes.subarray(at));
}

/** Reads to the end; at most `most` bytes, more is refused. Also works for files of /proc, whose size is 0. */
export function readAll(sys: Sys, fd: Fd, most: number, what: string): Uint8Array {
  const size = sys.fstat(fd).size;
  let bytes = new Uint8Array(Math.min(Math.max(size + 1, 1024), most + 1));
  let length = 0;
  for (;;) {
    const count = sys.read(fd, bytes.subarray(length));
    if (count === 0) return bytes.subarray(0, length);
    length += count;
    if (length > most) {
      sys.wipe(bytes);
      throw new AgentError("machine", `"${what}" has more than ${most} bytes`);
    }
    if (length < bytes.length) continue;
    const wider = new Uint8Array(Math.min(bytes.length * 2, most + 1));
    wider.set(bytes);
    sys.wipe(bytes);
    bytes = wider;
  }
}

export function readFile(sys: Sys, dir: Fd, path: string, most: number): Uint8Array {
  return using(sys, sys.openat(dir, path, sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK), (fd) =>
    readAll(sys, fd, most, path),
  );
}

export function createFile(sys: Sys, dir: Fd, name: string): Fd {
  return sys.openat(dir, name, sys.O_WRONLY | sys.O_CREAT | sys.O_EXCL | sys.O_NOFOLLOW, 0o600);
}

/** Replaces a file of root, 0600, whole or not at all. */
export function replaceFile(sys: Sys, dir: Fd, name: string, bytes: Uint8Array): void {
  const fresh = `${name}.new`;
  removeFile(sys, dir, fresh);
  using(sys, createFile(sys, dir, fresh), (fd) => writeAll(sys, fd, bytes));
  sys.renameat(dir, fresh, dir, name, 0);
}

/** Removes a file or symlink; whether it was there. */
export function removeFile(sys: Sys, dir: Fd, name: string): boolean {
  try {
    sys.unlinkat(dir, name, false);
    return true;
  } catch (error) {
    if (failedWith(error, "ENOENT")) return false;
    throw error;
  }
}

/** Removes a directory and all below it. */
export function removeTree(sys: Sys, parent: Fd, name: string): void {
  using(sys, openDirectory(sys, parent, name), (dir) => {
    for (const child of sys.readdir(dir)) {
      if (isType(sys.fstatat(dir, child), S_IFDIR)) removeTree(sys, dir, child);
      else sys.unlinkat(dir, child, false);
    }
  });
  sys.unlinkat(parent, name, true);
}
