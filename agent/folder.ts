// A bundle as files below a folder: what an image holds and a share shows. The files are those of the tar encoding
// (#protocol/bundle), and the manifest governs here too.
import { entryHeader, MANIFEST_PATH, type BundleSink } from "#protocol/bundle";
import { ProtocolError } from "#protocol/error";
import {
  encodeManifest,
  entryPath,
  MAX_MANIFEST_SIZE,
  parseManifest,
  type Manifest,
  type ManifestEntry,
} from "#protocol/manifest";
import { reading } from "./reading.ts";
import { RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, type Fd, type Stat, type Sys } from "./sys.ts";
import { isType, openDirectory, readAll, S_IFDIR, S_IFREG, using } from "./tree.ts";

const PIECE = 65_536;

/**
 * What a file must be besides of its size. "exact": mode and owner as in a tar, and nothing there that the manifest does
 * not name. "loose": for a share, which may lose modes and owners and have files of its own.
 */
export type Strictness = "exact" | "loose";

/** Throws ProtocolError, or AgentError "host-gone" when it can't be read. */
export function readManifest(sys: Sys, folder: Fd): Manifest {
  return using(sys, openFile(sys, folder, MANIFEST_PATH), (fd) =>
    parseManifest(reading(ofSource(MANIFEST_PATH), () => readAll(sys, fd, MAX_MANIFEST_SIZE, MANIFEST_PATH))),
  );
}

/**
 * Gives the bundle to the sink. Throws ProtocolError at the first file that is not as the manifest says, AgentError
 * "host-gone" for one that can't be read; what reached the sink is void then.
 */
export function readFolder(sys: Sys, folder: Fd, manifest: Manifest, strictness: Strictness, sink: BundleSink): void {
  if (strictness === "exact") refuseOthers(sys, folder, manifest);
  sink.manifest(manifest, encodeManifest(manifest));
  const piece = new Uint8Array(PIECE);
  try {
    for (const entry of manifest.entries) {
      using(sys, openFile(sys, folder, entryPath(entry)), (fd) => readEntry(sys, fd, entry, strictness, piece, sink));
    }
  } finally {
    sys.wipe(piece);
  }
}

function readEntry(
  sys: Sys,
  fd: Fd,
  entry: ManifestEntry,
  strictness: Strictness,
  piece: Uint8Array,
  sink: BundleSink,
): void {
  const path = entryPath(entry);
  const stat = reading(ofSource(path), () => sys.fstat(fd));
  const header = entryHeader(entry, stat.mtime);
  if (!isAs(stat, header, strictness)) throw new ProtocolError(`folder: "${path}" is not as the manifest says`);
  sink.entry(entry, header);
  for (let left = entry.size; left > 0;) {
    const count = reading(ofSource(path), () => sys.read(fd, piece.subarray(0, Math.min(left, PIECE))));
    if (count === 0) throw new ProtocolError(`folder: "${path}" ends in the middle`);
    sink.data(piece.subarray(0, count));
    left -= count;
  }
  sink.endEntry();
}

function isAs(
  stat: Stat,
  wanted: { mode: number; uid: number; gid: number; size: number },
  strictness: Strictness,
): boolean {
  if (!isType(stat, S_IFREG) || stat.size !== wanted.size || stat.mtime < 0) return false;
  if (strictness === "loose") return true;
  return (stat.mode & 0o7777) === wanted.mode && stat.uid === wanted.uid && stat.gid === wanted.gid;
}

/** A tar with a file that its manifest does not name is refused, and so is a folder. */
function refuseOthers(sys: Sys, folder: Fd, manifest: Manifest): void {
  const files = new Set([MANIFEST_PATH, ...manifest.entries.map(entryPath)]);
  const folders = new Set<string>();
  for (const path of files) {
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) folders.add(path.slice(0, at));
  }
  const look = (dir: Fd, above: string): void => {
    for (const name of sys.readdir(dir)) {
      const path = above + name;
      if (files.has(path)) continue;
      if (!folders.has(path) || !isType(sys.fstatat(dir, name), S_IFDIR)) {
        throw new ProtocolError("folder: it holds what the manifest does not name");
      }
      using(sys, openDirectory(sys, dir, name), (child) => look(child, `${path}/`));
    }
  };
  reading("the folder of the source", () => look(folder, ""));
}

/** Neither a symlink nor another mount is followed on the way, and a pipe makes nobody wait. */
function openFile(sys: Sys, folder: Fd, path: string): Fd {
  const flags = sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK;
  const resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_NO_XDEV;
  return reading(ofSource(path), () => sys.openat2(folder, path, flags, 0, resolve));
}

function ofSource(path: string): string {
  return `"${path}" of the source`;
}
