// The set: what the guest has at one revision, one directory that is exchanged whole.
//
//   secrets/            0711 root
//     PATH              mode and owner of the entry; folders 0711 root
//     .hatchway/        0700 root
//       manifest.json   the manifest that this set was made from: state and values change in one exchange
//       refused.json    [{"name","reason"}] entries of it that are not here
//       values/VAR      values of entries with a variable
//       env/secrets.env all variables, an EnvironmentFile
import { MANIFEST_PATH } from "#protocol/bundle";
import { parseJson } from "#protocol/json";
import { MAX_MANIFEST_SIZE, parseManifest, type Manifest, type ManifestEntry } from "#protocol/manifest";
import { AgentError } from "./error.ts";
import type { Owners } from "./owner.ts";
import { isIntact, placesOf } from "./place.ts";
import { parseRefusals, type Refusal } from "./receipt.ts";
import type { Root } from "./root.ts";
import { failedWith, type Fd, type Sys } from "./sys.ts";
import { isType, openDirectory, readFile, S_IFLNK, statOrNone, using } from "./tree.ts";

export const SET = "secrets";
export const REFUSED_PATH = ".hatchway/refused.json";
export const ENVIRONMENT_PATH = ".hatchway/env/secrets.env";

/** The set in force, held open: what is read through `fd` is of one revision. */
export interface CurrentSet {
  fd: Fd;
  manifest: Manifest;
  byName: ReadonlyMap<string, ManifestEntry>;
  refused: Refusal[];
}

/** Opens the set in force; undefined before the first one, or where it is a pushed one (retire.ts). The caller closes `fd`. */
export function openSet(sys: Sys, root: Root): CurrentSet | undefined {
  let fd: Fd;
  try {
    fd = openDirectory(sys, root.fd, SET);
  } catch (error) {
    if (failedWith(error, "ENOENT")) return undefined;
    const there = statOrNone(sys, root.fd, SET);
    if (there && isType(there, S_IFLNK)) return undefined;
    throw error;
  }
  try {
    const manifest = parseManifest(readFile(sys, fd, MANIFEST_PATH, MAX_MANIFEST_SIZE));
    const refused = parseRefusals(parseJson(readFile(sys, fd, REFUSED_PATH, MAX_MANIFEST_SIZE), "refused.json"));
    return { fd, manifest, byName: new Map(manifest.entries.map((entry) => [entry.name, entry])), refused };
  } catch (cause) {
    sys.close(fd);
    const path = `${root.path}/${SET}`;
    throw new AgentError("machine", `"${path}" is not a set that hatchway-agent made`, { cause });
  }
}

/** How often a set is read again that was replaced meanwhile; sets follow each other far more slowly. */
const READINGS = 50;

/**
 * What `read` makes of the set in force; undefined before the first one. A set that is replaced is retired at once, its
 * files overwritten and removed: what was read of it then may be anything, so it is read again.
 */
export function readSet<T>(sys: Sys, root: Root, read: (set: CurrentSet) => T): T | undefined {
  for (let reading = 1; ; reading++) {
    const before = statOrNone(sys, root.fd, SET);
    if (!before) return undefined;
    const stillInForce = (): boolean => statOrNone(sys, root.fd, SET)?.inode === before.inode;
    let result: T | undefined;
    try {
      const set = openSet(sys, root);
      result = set && using(sys, set.fd, () => read(set));
    } catch (error) {
      if (stillInForce() || reading === READINGS) throw error;
      continue;
    }
    if (stillInForce()) return result;
    if (reading === READINGS) throw new AgentError("machine", "the set changes faster than it can be read");
  }
}

/** Whether every file that the manifest promises, but for the refused, is there as it was made. */
export function isWhole(sys: Sys, set: CurrentSet, owners: Owners): boolean {
  const refused = new Set(set.refused.map(({ name }) => name));
  return set.manifest.entries.every((entry) => {
    if (refused.has(entry.name)) return true;
    const places = placesOf(entry, owners);
    if (typeof places === "string") return false;
    return places.every((place) => {
      const stat = statOrNone(sys, set.fd, place.path);
      return stat !== undefined && isIntact(stat, place, entry.size);
    });
  });
}
