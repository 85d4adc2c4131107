// Writing and reading whole bundles in memory, by the protocol's own parts.
import type { BundleValue } from "#test/kit/arbitrary";
import { BundleReader, encodeEnd, encodeManifestFile, entryHeader } from "#protocol/bundle";
import { entryPath, type Manifest, type ManifestEntry } from "#protocol/manifest";
import { encodeHeader, padding } from "#protocol/ustar";

export interface ReadBundle {
  manifest: Manifest | undefined;
  values: BundleValue[];
  /** How the reading ended; undefined when the bundle was whole. */
  error: unknown;
}

export function writeBundle(manifest: Manifest, values: readonly BundleValue[]): Buffer {
  const parts: Uint8Array[] = [encodeManifestFile(manifest)];
  for (const { path, mtime, content } of values) {
    const entry = manifest.entries.find((one) => entryPath(one) === path);
    if (!entry) throw new Error(`no entry with the path "${path}"`);
    parts.push(encodeHeader(entryHeader(entry, mtime)), content, new Uint8Array(padding(content.length)));
  }
  return Buffer.concat([...parts, encodeEnd()]);
}

/** Pushes the chunks until one is refused; checks that the sink is called as its contract says. */
export function readBundle(chunks: Iterable<Uint8Array>): ReadBundle {
  const read: ReadBundle = { manifest: undefined, values: [], error: undefined };
  let open: { entry: ManifestEntry; path: string; mtime: number; parts: Buffer[]; size: number } | undefined;
  const reader = new BundleReader({
    manifest(manifest) {
      if (read.manifest) throw new Error("a second manifest");
      read.manifest = manifest;
    },
    entry(entry, { path, mtime }) {
      if (open) throw new Error("an entry begins inside another");
      open = { entry, path, mtime, parts: [], size: 0 };
    },
    data(bytes) {
      if (!open || bytes.length === 0) throw new Error("data outside an entry, or none");
      open.parts.push(Buffer.from(bytes));
      open.size += bytes.length;
      if (open.size > open.entry.size) throw new Error("more data than the entry has");
    },
    endEntry() {
      if (open?.size !== open?.entry.size || !open) throw new Error("an entry ends early");
      read.values.push({ path: open.path, mtime: open.mtime, content: Buffer.concat(open.parts) });
      open = undefined;
    },
  });
  try {
    for (const chunk of chunks) reader.push(chunk);
    reader.end();
  } catch (error) {
    read.error = error;
  }
  return read;
}
