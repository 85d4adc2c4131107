import type { Manifest, ManifestEntry } from "#protocol/manifest";

/**
 * What a VM has at one revision: resolved once, in one place, and carried by every channel in one of few encodings. It
 * holds no value; one is opened when it is about to be written to the guest.
 */
export interface Bundle {
  manifest: Manifest;
  /** The counter behind `manifest.revision`. */
  counter: number;
  /** Seconds since 1970 of each entry's version, in the order of `manifest.entries`: the mtime of its file. */
  times: number[];
  /**
   * The entries whose value is newer than `revision`; all, when that is not one of this VM's in this generation.
   */
  changedSince(revision: string | undefined): ManifestEntry[];
  /**
   * Audits that the values of `entries` leave for this VM, and only then gives the way to open each: a fresh buffer of
   * `entry.size` bytes that the caller wipes.
   */
  disclose(entries: readonly ManifestEntry[]): Promise<(entry: ManifestEntry) => Promise<Buffer>>;
}
