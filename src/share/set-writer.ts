import { closeSync } from "node:fs";
import { dirname, join } from "node:path";
import { MANIFEST_PATH, type BundleSink } from "#protocol/bundle";
import { encodeManifest, type Manifest, type ManifestEntry } from "#protocol/manifest";
import { RESERVED_FOLDER } from "#protocol/names";
import type { TarHeader } from "#protocol/ustar";
import { PASSABLE, writeAll, type Attributes, type Look } from "./look.ts";

/**
 * Writes a bundle as files below a folder that it makes. `place` says which once the manifest is known; undefined: there is
 * nothing to write. What fails leaves a part of it there.
 */
export class SetWriter implements BundleSink {
  readonly #look: Look;
  readonly #place: (manifest: Manifest) => string | undefined;
  readonly #folders = new Set<string>();
  #folder: string | undefined;
  #file: { fd: number; path: string; attributes: Attributes } | undefined;

  constructor(look: Look, place: (manifest: Manifest) => string | undefined) {
    this.#look = look;
    this.#place = place;
  }

  manifest(manifest: Manifest): void {
    this.#folder = this.#place(manifest);
    if (this.#folder === undefined) return;
    this.#look.folder(this.#folder, PASSABLE);
    this.#begin(MANIFEST_PATH, { mode: 0o600, uid: 0, gid: 0, mtime: 0 });
    this.data(encodeManifest(manifest));
    this.endEntry();
  }

  entry(_entry: ManifestEntry, { path, mode, uid, gid, mtime }: TarHeader): void {
    this.#begin(path, { mode, uid, gid, mtime });
  }

  data(bytes: Uint8Array): void {
    if (this.#file) writeAll(this.#file.fd, bytes);
  }

  endEntry(): void {
    if (!this.#file) return;
    const { fd, path, attributes } = this.#file;
    this.#file = undefined;
    this.#look.finish(fd, path, attributes);
  }

  /** Lets go of a file in whose middle the bundle broke off. */
  abandon(): void {
    if (this.#file) closeSync(this.#file.fd);
    this.#file = undefined;
  }

  /** `path` is of the grammar that manifests have, so it stays below. */
  #begin(path: string, attributes: Attributes): void {
    if (this.#folder === undefined) return;
    this.#makeFolder(dirname(path));
    const whole = join(this.#folder, path);
    this.#file = { fd: this.#look.create(whole), path: whole, attributes };
  }

  #makeFolder(path: string): void {
    if (path === "." || this.#folder === undefined || this.#folders.has(path)) return;
    this.#makeFolder(dirname(path));
    this.#look.folder(join(this.#folder, path), path === RESERVED_FOLDER ? 0o700 : PASSABLE);
    this.#folders.add(path);
  }
}
