// How files stand on the host so that a guest sees them with the modes and owners of its bundle.
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { HatchwayError } from "#error";
import { isErrno, ownUid } from "#host/files";

/** What the guest is to see of a file. */
export interface Attributes {
  /** Permission bits. */
  mode: number;
  uid: number;
  gid: number;
  /** Seconds since 1970. */
  mtime: number;
}

/** All paths are absolute and, but for links, new, in folders that nobody else can write to. */
export interface Look {
  /** The folder that is shared, whose own attributes the guest sees as those of the mount. */
  root(path: string): void;
  folder(path: string, mode: number): void;
  /** Makes a file; its descriptor, to be given to `finish` or closed. */
  create(path: string): number;
  /** Once all is written: gives it its attributes and closes it. */
  finish(fd: number, path: string, attributes: Attributes): void;
  /** Makes a link, or replaces one in a single step. */
  link(path: string, target: string): void;
  /** Where a link leads. */
  target(path: string): string;
  /** What goes with `path`, besides what is at it, when it is removed. */
  companions(path: string): string[];
}

/** Anybody may pass through a folder of a set, as in an image; nobody but root may list it. */
export const PASSABLE = 0o711;
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;

function create(path: string): number {
  return openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
}

/** Files as they are, for a server that shows them so: its process must be able to read all of them, as root is. */
export const asTheyAre: Look = {
  root: (path) => makeFolder(path, PASSABLE),
  folder: makeFolder,
  create,
  finish(fd, path, { mode, uid, gid, mtime }) {
    try {
      if (uid !== ownUid() || gid !== process.getegid?.()) fchownSync(fd, uid, gid);
      fchmodSync(fd, mode);
      futimesSync(fd, mtime, mtime);
    } catch (cause) {
      if (!isErrno(cause, "EPERM")) throw cause;
      throw new HatchwayError("forbidden", `only root can give "${basename(path)}" to uid ${uid}, gid ${gid}`, {
        hint: "run it as root, leave the share sealed, or share it by 9p",
        cause,
      });
    } finally {
      closeSync(fd);
    }
  },
  link(path, target) {
    symlinkSync(target, `${path}.next`);
    renameSync(`${path}.next`, path);
  },
  target: (path) => readlinkSync(path),
  companions: () => [],
};

/**
 * Files of ours that the group `gid` can read, with beside each what a guest is to see, as QEMU's 9p server keeps it
 * (security_model=mapped-file; hw/9pfs/9p-local.c of QEMU): a text file of the same name in a folder `.virtfs_metadata`,
 * which the guest never sees. A link is a file with its target. So a QEMU without any right can show files of any owner.
 */
export function mapped(gid: number): Look {
  const isOwn = gid === process.getegid?.();
  const give = (path: string, mode: number): void => {
    chmodSync(path, mode);
    if (!isOwn) chownSync(path, ownUid(), gid);
  };
  const folderFor = (path: string): void => {
    mkdirSync(path, { mode: 0o700 });
    give(path, 0o750);
  };
  const describe = (path: string, type: number, { mode, uid, gid: group }: Omit<Attributes, "mtime">): void => {
    const folder = join(dirname(path), METADATA);
    try {
      folderFor(folder);
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw error;
    }
    writeMetadata(join(folder, basename(path)), type | mode, uid, group);
  };
  const writeMetadata = (path: string, mode: number, uid: number, group: number): void => {
    const text = `virtfs.uid=${uid}\nvirtfs.gid=${group}\nvirtfs.mode=${mode}\n`;
    writeFileSync(path, text, { mode: 0o600 });
    give(path, 0o640);
  };
  return {
    root(path) {
      folderFor(path);
      writeMetadata(join(path, METADATA_OF_ROOT), constants.S_IFDIR | PASSABLE, 0, 0);
    },
    folder(path, mode) {
      folderFor(path);
      describe(path, constants.S_IFDIR, { mode, uid: 0, gid: 0 });
    },
    create,
    finish(fd, path, attributes) {
      try {
        futimesSync(fd, attributes.mtime, attributes.mtime);
      } finally {
        closeSync(fd);
      }
      give(path, 0o640);
      describe(path, constants.S_IFREG, attributes);
    },
    link(path, target) {
      describe(path, constants.S_IFLNK, { mode: 0o777, uid: 0, gid: 0 });
      writeFileSync(`${path}.next`, target, { mode: 0o600, flag: "wx" });
      give(`${path}.next`, 0o640);
      renameSync(`${path}.next`, path);
    },
    target: (path) => readFileSync(path, "latin1"),
    companions: (path) => [join(dirname(path), METADATA, basename(path))],
  };
}

const METADATA = ".virtfs_metadata";
const METADATA_OF_ROOT = ".virtfs_metadata_root";

function makeFolder(path: string, mode: number): void {
  mkdirSync(path, { mode: 0o700 });
  chmodSync(path, mode);
}

/** All of `bytes`, which stay the caller's to wipe. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
}
