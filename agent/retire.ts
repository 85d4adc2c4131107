// What becomes of a set that is no longer in force: unlinked, and its bytes overwritten where that harms no reader.
//
// A file is overwritten when it has no name left (it was not linked over into the set in force) and nobody has it open:
// the kernel gives a write lease only then (fcntl(2)), and while we hold it an open waits. One more reader must be thought
// of: the one whose open() had found the name before it went, and has not finished. So all names go first, and the
// overwriting follows after a grace far longer than an open takes.
import { failedWith, type Fd, type Sys } from "./sys.ts";
import { isType, openDirectory, S_IFDIR, S_IFREG, statOrNone, using } from "./tree.ts";

const GRACE_MS = 20;
/** Descriptors held at once. */
const BATCH = 256;
const ZEROS: Uint8Array = new Uint8Array(65_536);

export function retire(sys: Sys, parent: Fd, name: string): void {
  if (!isType(sys.fstatat(parent, name), S_IFDIR)) return sys.unlinkat(parent, name, false);
  const orphans: Fd[] = [];
  unlinkTree(sys, parent, name, orphans);
  overwrite(sys, orphans);
}

/** Before this guest had an agent `hatchway push` kept its sets here, and `secrets` was a symlink to one of them. */
const PUSHED = ".sets";

export function retirePushed(sys: Sys, root: Fd): void {
  if (statOrNone(sys, root, PUSHED)) retire(sys, root, PUSHED);
}

function unlinkTree(sys: Sys, parent: Fd, name: string, orphans: Fd[]): void {
  using(sys, openDirectory(sys, parent, name), (dir) => {
    for (const child of sys.readdir(dir)) {
      const stat = sys.fstatat(dir, child);
      if (isType(stat, S_IFDIR)) {
        unlinkTree(sys, dir, child, orphans);
        continue;
      }
      const orphan = isType(stat, S_IFREG) && stat.links === 1;
      if (orphan) orphans.push(sys.openat(dir, child, sys.O_RDWR | sys.O_NOFOLLOW | sys.O_NONBLOCK));
      sys.unlinkat(dir, child, false);
      if (orphans.length >= BATCH) overwrite(sys, orphans);
    }
  });
  sys.unlinkat(parent, name, true);
}

/** Empties the list. */
function overwrite(sys: Sys, orphans: Fd[]): void {
  if (orphans.length > 0) grace(sys);
  for (const fd of orphans.splice(0)) {
    using(sys, fd, () => {
      const { size, links } = sys.fstat(fd);
      if (links > 0 || !sys.lease(fd)) return;
      for (let left = size; left > 0;) left -= sys.write(fd, ZEROS.subarray(0, Math.min(left, ZEROS.length)));
    });
  }
}

function grace(sys: Sys): void {
  try {
    sys.poll(-1, 0, GRACE_MS);
  } catch (error) {
    // A signal ends the wait: then nothing is lost but a little of the grace.
    if (!failedWith(error, "EINTR")) throw error;
  }
}
