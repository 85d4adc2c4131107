import type { Bundle } from "#bundle";
import { encodedSize, encodeEnd, encodeManifestFile, entryHeader } from "#protocol/bundle";
import type { ManifestEntry } from "#protocol/manifest";
import { encodeHeader, padding } from "#protocol/ustar";

/** Takes the bytes of an encoding. Resolves when `bytes` is no longer needed: only then may its buffer be wiped. */
export type Sink = (bytes: Uint8Array) => Promise<void>;

/**
 * A bundle as the tar stream that docs/formats.md draws. Its size is known before any value is opened; values are
 * opened one at a time and wiped when the sink is done with them, or when it fails.
 */
export class BundleTar {
  /** Bytes in all. */
  readonly size: number;
  readonly #bundle: Bundle;
  readonly #entries: readonly ManifestEntry[];
  readonly #manifestFile: Uint8Array;

  /** `entries`: those of the manifest whose values go along, in its order. */
  constructor(bundle: Bundle, entries: readonly ManifestEntry[]) {
    this.#bundle = bundle;
    this.#entries = entries;
    this.#manifestFile = encodeManifestFile(bundle.manifest);
    this.size = encodedSize(this.#manifestFile, entries);
  }

  /** Nothing is given to the sink if the disclosure cannot be audited. */
  async writeTo(sink: Sink): Promise<void> {
    const times = new Map(this.#bundle.manifest.entries.map((entry, at) => [entry, this.#bundle.times[at] ?? 0]));
    const open = await this.#bundle.disclose(this.#entries);
    await sink(this.#manifestFile);
    for (const entry of this.#entries) {
      const file = fileBytes(entry, times.get(entry) ?? 0);
      try {
        const value = await open(entry);
        file.set(value, 512);
        value.fill(0);
        await sink(file);
      } finally {
        file.fill(0);
      }
    }
    await sink(encodeEnd());
  }
}

/** One file of the stream in one piece: header, room for the value, padding. */
function fileBytes(entry: ManifestEntry, mtime: number): Buffer {
  const header = encodeHeader(entryHeader(entry, mtime));
  const file = Buffer.allocUnsafeSlow(header.length + entry.size + padding(entry.size)).fill(0);
  file.set(header);
  return file;
}
