// The tar encoding of a bundle, which is also how it crosses a live channel:
//
//   .hatchway/manifest.json   0600 0:0   the full manifest
//   PATH …                               values, in manifest order; a live answer leaves out what the reader has
//   two zero blocks, and nothing after
//
// The manifest governs: each file's header is computed from its entry, and one that differs in a byte (but for mtime,
// which only the header has) is refused.
import { ProtocolError } from "./error.ts";
import {
  encodeManifest,
  entryPath,
  MAX_MANIFEST_SIZE,
  parseManifest,
  type Manifest,
  type ManifestEntry,
} from "./manifest.ts";
import { RESERVED_FOLDER } from "./names.ts";
import { BLOCK, decodeHeader, encodeHeader, equalWords, isZero, mtimeOf, padding, type TarHeader } from "./ustar.ts";

export const MANIFEST_PATH: string = `${RESERVED_FOLDER}/manifest.json`;

/** The header that an entry's value must have. An entry that is only a variable is a file of root, 0600. */
export function entryHeader(entry: ManifestEntry, mtime: number): TarHeader {
  const { user, group, mode } = entry.file ?? { user: 0, group: 0, mode: "0600" };
  return {
    path: entryPath(entry),
    mode: Number.parseInt(mode, 8),
    uid: typeof user === "number" ? user : 0,
    gid: typeof group === "number" ? group : 0,
    uname: typeof user === "string" ? user : "",
    gname: typeof group === "string" ? group : "",
    size: entry.size,
    mtime,
  };
}

/** The first blocks of a bundle: the manifest's header and bytes, padded. */
export function encodeManifestFile(manifest: Manifest): Uint8Array {
  const json = encodeManifest(manifest);
  if (json.length > MAX_MANIFEST_SIZE) throw new ProtocolError(`manifest: ${json.length} bytes, more than 4 MiB`);
  const blocks = new Uint8Array(BLOCK + json.length + padding(json.length));
  blocks.set(encodeHeader(manifestHeader(json.length)));
  blocks.set(json, BLOCK);
  return blocks;
}

/** What ends a bundle. */
export function encodeEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK);
}

/** Bytes of a bundle that carries the values of `entries`: so an answer has its Content-Length before a value is opened. */
export function encodedSize(manifestFile: Uint8Array, entries: readonly ManifestEntry[]): number {
  let size = manifestFile.length + 2 * BLOCK;
  for (const entry of entries) size += BLOCK + entry.size + padding(entry.size);
  return size;
}

function manifestHeader(size: number): TarHeader {
  return { path: MANIFEST_PATH, mode: 0o600, uid: 0, gid: 0, uname: "", gname: "", size, mtime: 0 };
}

/** Who receives a bundle as it is read. A throw from any of these ends the reading. */
export interface BundleSink {
  /** `json` is what it was read from: the bytes that `encodeManifest` makes of it. */
  manifest(manifest: Manifest, json: Uint8Array): void;
  /** A value begins; `entry.size` bytes follow in calls of `data`, then `endEntry`. */
  entry(entry: ManifestEntry, header: TarHeader): void;
  /** A view into the pushed chunk: valid during the call only. */
  data(bytes: Uint8Array): void;
  endEntry(): void;
}

type State = "header" | "manifest" | "value" | "padding" | "trailer" | "done" | "failed";

/**
 * Reads a bundle from chunks of any size. `push` throws ProtocolError at the first byte that breaks a rule and from
 * then on; `end` throws unless the whole bundle was there. Until `end` has returned nothing read may be put to use.
 */
export class BundleReader {
  readonly #sink: BundleSink;
  readonly #block: Uint8Array = new Uint8Array(BLOCK);
  /** What the next header should be. */
  readonly #expected: Uint8Array = new Uint8Array(BLOCK);
  #filled = 0;
  #state: State = "header";
  #remaining = 0;
  #padding = 0;
  #json: Uint8Array | undefined;
  #manifest: Manifest | undefined;
  /** Index of the first manifest entry that may still come. */
  #next = 0;

  constructor(sink: BundleSink) {
    this.#sink = sink;
  }

  push(chunk: Uint8Array): void {
    const state = this.#state;
    if (state === "failed") throw new ProtocolError("bundle: reading went on after a fault");
    this.#state = "failed";
    let next: State = state;
    for (let at = 0; at < chunk.length;) {
      const rest = chunk.subarray(at);
      const [used, then] = this.#step(next, rest);
      at += used;
      next = then;
    }
    this.#state = next;
  }

  end(): void {
    if (this.#state !== "done") throw new ProtocolError("bundle: it ends in the middle");
  }

  /** Consumes some of `rest` (at least one byte) in `state`; says how many and what comes next. */
  #step(state: State, rest: Uint8Array): [used: number, next: State] {
    if (state === "header" || state === "trailer") return this.#fillBlock(state, rest);
    if (state === "manifest" || state === "value") return this.#fillContent(state, rest);
    if (state === "padding") return this.#skipPadding(rest);
    throw new ProtocolError("bundle: bytes after its end");
  }

  #fillBlock(state: "header" | "trailer", rest: Uint8Array): [number, State] {
    const part = rest.subarray(0, BLOCK - this.#filled);
    this.#block.set(part, this.#filled);
    this.#filled += part.length;
    if (this.#filled < BLOCK) return [part.length, state];
    this.#filled = 0;
    const zero = this.#block[0] === 0 && isZero(this.#block);
    if (state === "trailer") {
      if (!zero) throw new ProtocolError("bundle: one zero block is not followed by another");
      return [part.length, "done"];
    }
    if (zero) {
      if (!this.#manifest) throw new ProtocolError("bundle: no manifest");
      return [part.length, "trailer"];
    }
    return [part.length, this.#beginNext(this.#block) ?? this.#begin(decodeHeader(this.#block))];
  }

  /** Where the header is exactly that of the next entry, which it is but for entries that were left out. */
  #beginNext(block: Uint8Array): State | undefined {
    const entry = this.#manifest?.entries[this.#next];
    const mtime = mtimeOf(block);
    if (!entry || mtime === undefined) return undefined;
    const header = entryHeader(entry, mtime);
    if (!equalWords(block, encodeHeader(header, this.#expected))) return undefined;
    this.#next++;
    return this.#beginEntry(entry, header);
  }

  #beginEntry(entry: ManifestEntry, header: TarHeader): State {
    this.#remaining = header.size;
    this.#padding = padding(header.size);
    this.#sink.entry(entry, header);
    if (header.size > 0) return "value";
    this.#sink.endEntry();
    return "header";
  }

  #begin(header: TarHeader): State {
    if (!this.#manifest) {
      if (header.size < 1 || header.size > MAX_MANIFEST_SIZE || !sameHeader(header, manifestHeader(header.size))) {
        throw new ProtocolError(`bundle: its first file is not ${MANIFEST_PATH} of root, 0600, 1 byte to 4 MiB`);
      }
      this.#remaining = header.size;
      this.#padding = padding(header.size);
      this.#json = new Uint8Array(header.size);
      return "manifest";
    }
    const { entries } = this.#manifest;
    while (this.#next < entries.length) {
      const entry = entries[this.#next++];
      if (!entry || entryPath(entry) !== header.path) continue;
      if (!sameHeader(header, entryHeader(entry, header.mtime))) {
        throw new ProtocolError(`bundle: the header of "${header.path}" disagrees with the manifest`);
      }
      return this.#beginEntry(entry, header);
    }
    throw new ProtocolError(`bundle: "${header.path}" is not in the manifest, or not in its order`);
  }

  #fillContent(state: "manifest" | "value", rest: Uint8Array): [number, State] {
    const part = rest.subarray(0, this.#remaining);
    if (state === "value") this.#sink.data(part);
    else this.#json?.set(part, this.#json.length - this.#remaining);
    this.#remaining -= part.length;
    if (this.#remaining > 0) return [part.length, state];
    if (state === "value") this.#sink.endEntry();
    else if (this.#json) {
      const json = this.#json;
      this.#json = undefined;
      this.#manifest = parseManifest(json);
      this.#sink.manifest(this.#manifest, json);
    }
    return [part.length, this.#padding > 0 ? "padding" : "header"];
  }

  #skipPadding(rest: Uint8Array): [number, State] {
    const part = rest.subarray(0, this.#padding);
    if (!isZero(part)) throw new ProtocolError("bundle: padding that is not zero");
    this.#padding -= part.length;
    return [part.length, this.#padding > 0 ? "padding" : "header"];
  }
}

function sameHeader(a: TarHeader, b: TarHeader): boolean {
  return (Object.keys(a) as (keyof TarHeader)[]).every((key) => a[key] === b[key]);
}
