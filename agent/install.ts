// Builds a set beside the one in force and exchanges the two.
//
//   1. .agent/next-XXXX is made, and filled as the bundle streams in: each file O_EXCL through a held descriptor of its
//      folder, root's 0600 until its last byte is written, then its owner, mode and time.
//   2. `complete`, once the bundle has ended well: what it left out as unchanged is taken from the set in force.
//   3. `commit`: one renameat2(RENAME_EXCHANGE). Before it nothing is visible, after it everything is.
//   4. What was in force now is .agent/next-XXXX, and retired (retire.ts).
//
// next-… lies under .agent, which only root can enter: nobody can race what is done here.
import { MANIFEST_PATH, type BundleSink } from "#protocol/bundle";
import { asciiBytes } from "#protocol/json";
import type { Manifest, ManifestEntry } from "#protocol/manifest";
import { MAX_VALUE_SIZE, RESERVED_FOLDER } from "#protocol/names";
import type { TarHeader } from "#protocol/ustar";
import { assignment, environmentProblem } from "./envfile.ts";
import type { Owners } from "./owner.ts";
import { placesOf, variablePath, type Place } from "./place.ts";
import type { Refusal } from "./receipt.ts";
import { retire } from "./retire.ts";
import { reuse } from "./reuse.ts";
import type { Root } from "./root.ts";
import { ENVIRONMENT_PATH, REFUSED_PATH, SET, type CurrentSet } from "./set.ts";
import { RENAME_EXCHANGE, type Fd, type Sys } from "./sys.ts";
import { hex } from "./text.ts";
import {
  createFile,
  makeDirectories,
  makeDirectory,
  openDirectory,
  readFile,
  removeFile,
  removeTree,
  statOrNone,
  using,
  writeAll,
} from "./tree.ts";

const PREFIX = "next-";

/** Removes what a killed run left; only for the holder of the lock. */
export function removeLeftovers(sys: Sys, root: Root): void {
  for (const name of sys.readdir(root.agent)) if (name.startsWith(PREFIX)) retire(sys, root.agent, name);
}

export class Installation implements BundleSink {
  readonly #sys: Sys;
  readonly #root: Root;
  readonly #owners: Owners;
  /** The set in force. */
  readonly #old: CurrentSet | undefined;
  readonly #name: string;
  /** The folder `#name`, from the manifest on. */
  #dir: Fd = -1;
  readonly #received: Set<string> = new Set();
  readonly #refused: Refusal[] = [];
  #manifest: Manifest | undefined;
  /** The entry that streams in, and the files that take it: none when the entry is refused. */
  #open: { entry: ManifestEntry; mtime: number; files: { fd: Fd; place: Place }[] } | undefined;

  constructor(sys: Sys, root: Root, owners: Owners, old: CurrentSet | undefined) {
    const random = new Uint8Array(8);
    sys.getrandom(random);
    this.#sys = sys;
    this.#root = root;
    this.#owners = owners;
    this.#old = old;
    this.#name = PREFIX + hex(random);
  }

  /** There once the bundle has begun. */
  get offered(): Manifest | undefined {
    return this.#manifest;
  }

  get refused(): readonly Refusal[] {
    return this.#refused;
  }

  manifest(manifest: Manifest, json: Uint8Array): void {
    this.#manifest = manifest;
    this.#dir = makeDirectory(this.#sys, this.#root.agent, this.#name, 0o711);
    using(this.#sys, makeDirectory(this.#sys, this.#dir, RESERVED_FOLDER, 0o700), () => undefined);
    this.#write(MANIFEST_PATH, json);
  }

  entry(entry: ManifestEntry, header: TarHeader): void {
    this.#received.add(entry.name);
    const places = placesOf(entry, this.#owners);
    this.#open = { entry, mtime: header.mtime, files: [] };
    if (typeof places === "string") this.#refuse(entry, places);
    else for (const place of places) this.#open.files.push({ fd: this.#create(place.path), place });
  }

  data(bytes: Uint8Array): void {
    for (const { fd } of this.#open?.files ?? []) writeAll(this.#sys, fd, bytes);
  }

  endEntry(): void {
    if (!this.#open) return;
    const { entry, mtime, files } = this.#open;
    for (const { fd, place } of files) {
      // The owner first: chown clears bits of the mode (chown(2)).
      this.#sys.fchown(fd, place.uid, place.gid);
      this.#sys.fchmod(fd, place.mode);
      this.#sys.futimens(fd, mtime);
    }
    this.#closeFiles();
    if (files.length > 0) this.#checkVariable(entry);
  }

  /**
   * Takes over what the bundle left out. Names of entries whose value is not here: the host must be asked for all.
   * After an empty answer the set is ready.
   */
  complete(): string[] {
    const manifest = this.#begun();
    const missing: string[] = [];
    for (const entry of manifest.entries) {
      if (this.#received.has(entry.name)) continue;
      const places = placesOf(entry, this.#owners);
      if (typeof places === "string") this.#refuse(entry, places);
      else if (this.#old && reuse(this.#sys, this.#old, entry, places, this.#dir)) this.#checkVariable(entry);
      else missing.push(entry.name);
    }
    if (missing.length > 0) return missing;
    this.#write(REFUSED_PATH, asciiBytes(JSON.stringify(this.#refused)));
    this.#writeEnvironment(manifest);
    return [];
  }

  /** Puts the set in force. The folder's name under `.agent` that now holds the set before, if there was one. */
  commit(): string | undefined {
    const { fd, agent } = this.#root;
    const replaces = statOrNone(this.#sys, fd, SET) !== undefined;
    this.#sys.renameat(agent, this.#name, fd, SET, replaces ? RENAME_EXCHANGE : 0);
    this.#sys.close(this.#dir);
    return replaces ? this.#name : undefined;
  }

  /** Undoes all: nothing of it was ever visible. */
  abandon(): void {
    if (this.#dir < 0) return;
    this.#closeFiles();
    this.#sys.close(this.#dir);
    removeTree(this.#sys, this.#root.agent, this.#name);
  }

  #begun(): Manifest {
    if (!this.#manifest) throw new Error("a bundle that has not begun cannot be complete");
    return this.#manifest;
  }

  #refuse(entry: ManifestEntry, reason: string): void {
    this.#refused.push({ name: entry.name, reason });
  }

  #closeFiles(): void {
    for (const { fd } of this.#open?.files ?? []) this.#sys.close(fd);
    this.#open = undefined;
  }

  #create(path: string): Fd {
    if (!path.includes("/")) return createFile(this.#sys, this.#dir, path);
    const components = path.split("/");
    const name = components.pop() ?? "";
    return using(this.#sys, makeDirectories(this.#sys, this.#dir, components), (parent) =>
      createFile(this.#sys, parent, name),
    );
  }

  #write(path: string, bytes: Uint8Array): void {
    using(this.#sys, this.#create(path), (fd) => writeAll(this.#sys, fd, bytes));
  }

  /** Takes back the variable of an entry whose value cannot be one; its file, if it has one, stays. */
  #checkVariable(entry: ManifestEntry): void {
    if (entry.env === undefined) return;
    const path = variablePath(entry.env);
    const value = readFile(this.#sys, this.#dir, path, MAX_VALUE_SIZE);
    const problem = environmentProblem(value);
    this.#sys.wipe(value);
    if (problem === undefined) return;
    removeFile(this.#sys, this.#dir, path);
    this.#refuse(entry, problem);
  }

  #writeEnvironment(manifest: Manifest): void {
    using(this.#sys, this.#create(ENVIRONMENT_PATH), (file) => {
      forEachVariable(this.#sys, this.#dir, manifest, (name, value) => {
        const line = assignment(name, value);
        writeAll(this.#sys, file, line);
        this.#sys.wipe(line);
      });
    });
  }
}

/** Each variable of a set with its value, which is wiped after the call. */
export function forEachVariable(
  sys: Sys,
  set: Fd,
  manifest: Manifest,
  use: (name: string, value: Uint8Array) => void,
): void {
  const values = statOrNone(sys, set, `${RESERVED_FOLDER}/values`);
  if (!values) return;
  using(sys, openDirectory(sys, set, `${RESERVED_FOLDER}/values`), (dir) => {
    for (const { env } of manifest.entries) {
      if (env === undefined || !statOrNone(sys, dir, env)) continue;
      const value = readFile(sys, dir, env, MAX_VALUE_SIZE);
      use(env, value);
      sys.wipe(value);
    }
  });
}
