import { RESERVED_FOLDER } from "#protocol/names";
import type { ManifestEntry } from "#protocol/manifest";
import type { Owners } from "./owner.ts";
import type { Stat } from "./sys.ts";
import { isType, S_IFREG } from "./tree.ts";

/** One file of a set that holds an entry's value. */
export interface Place {
  /** Relative to the set. */
  path: string;
  /** Permission bits. */
  mode: number;
  uid: number;
  gid: number;
}

/** Where an entry's value as a variable is kept: a copy of root's own, which no owner of the file can change. */
export function variablePath(variable: string): string {
  return `${RESERVED_FOLDER}/values/${variable}`;
}

/** Every place of an entry, the file first; or why the file cannot be made here. */
export function placesOf(entry: ManifestEntry, owners: Owners): Place[] | string {
  const places: Place[] = [];
  if (entry.file) {
    const { path, mode, user, group } = entry.file;
    const uid = owners.uid(user);
    const gid = owners.gid(group);
    if (uid === undefined) return `this guest has no user "${user}"`;
    if (gid === undefined) return `this guest has no group "${group}"`;
    places.push({ path, mode: Number.parseInt(mode, 8), uid, gid });
  }
  if (entry.env !== undefined) places.push({ path: variablePath(entry.env), mode: 0o600, uid: 0, gid: 0 });
  return places;
}

/** Whether what is there has the type, size, mode and owner that it was given. */
export function isIntact(stat: Stat, place: Place, size: number): boolean {
  return hasSize(stat, size) && (stat.mode & 0o7777) === place.mode && stat.uid === place.uid && stat.gid === place.gid;
}

export function hasSize(stat: Stat, size: number): boolean {
  return isType(stat, S_IFREG) && stat.size === size;
}

/** Whether nobody but root could have changed the file's bytes. */
export function isRootsAlone(stat: Stat): boolean {
  return stat.uid === 0 && (stat.mode & 0o022) === 0;
}
