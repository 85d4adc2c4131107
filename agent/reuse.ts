import type { ManifestEntry } from "#protocol/manifest";
import { MAX_VALUE_SIZE } from "#protocol/names";
import { hasSize, isIntact, isRootsAlone, variablePath, type Place } from "./place.ts";
import type { CurrentSet } from "./set.ts";
import type { Fd, Sys } from "./sys.ts";
import { createFile, makeDirectories, openDirectory, readAll, statOrNone, using, writeAll } from "./tree.ts";

/**
 * Brings an entry that has not changed from the set in force into the next one: false when that set does not have it,
 * or no longer as it was made.
 *
 * A file that stays as it is is linked. One whose mode or owner differs is copied, since a new owner must not share an
 * inode with the old one, and only from a file that nobody but root can have changed: an owner may have rewritten his.
 */
export function reuse(sys: Sys, old: CurrentSet, entry: ManifestEntry, places: readonly Place[], next: Fd): boolean {
  const before = old.byName.get(entry.name);
  if (!before || before.version !== entry.version || before.size !== entry.size) return false;
  const sources = [before.file?.path, before.env === undefined ? undefined : variablePath(before.env)];
  const paths = sources.filter((path) => path !== undefined);
  return places.every((place) => {
    const components = place.path.split("/");
    const name = components.pop() ?? "";
    return using(sys, makeDirectories(sys, next, components), (parent) => {
      const same = paths.find((path) => {
        const stat = statOrNone(sys, old.fd, path);
        return stat !== undefined && isIntact(stat, place, entry.size);
      });
      if (same !== undefined) {
        sys.linkat(old.fd, same, parent, name);
        return true;
      }
      const source = paths.find((path) => {
        const stat = statOrNone(sys, old.fd, path);
        return stat !== undefined && hasSize(stat, entry.size) && isRootsAlone(stat);
      });
      if (source === undefined) return false;
      copy(sys, old.fd, source, parent, name, place);
      return true;
    });
  });
}

/** `path` may have folders: they are root's, in a set that only root changes. */
function copy(sys: Sys, from: Fd, path: string, parent: Fd, name: string, place: Place): void {
  const components = path.split("/");
  const file = components.pop() ?? "";
  const folder = components.length > 0 ? components.join("/") : ".";
  using(sys, openDirectory(sys, from, folder), (dir) => {
    using(sys, sys.openat(dir, file, sys.O_RDONLY | sys.O_NOFOLLOW), (source) => {
      const value = readAll(sys, source, MAX_VALUE_SIZE, path);
      using(sys, createFile(sys, parent, name), (target) => {
        writeAll(sys, target, value);
        sys.fchown(target, place.uid, place.gid);
        sys.fchmod(target, place.mode);
        sys.futimens(target, sys.fstat(source).mtime);
      });
      sys.wipe(value);
    });
  });
}
