import type { BundleSink } from "#protocol/bundle";
import type { Receipt } from "./receipt.ts";
import type { Source } from "./source.ts";

/** Where bundles come from, and who hears what became of them. */
export interface Origin {
  readonly source: Source;
  /**
   * Brings the bundle. With `have` it answers when there is a newer revision, or after `waitSeconds` with "same".
   * Everything that reached the sink is void unless this returns "changed".
   */
  bundle(have: string | undefined, waitSeconds: number, sink: BundleSink): "changed" | "same";
  /** Says what became of a revision, where there is somebody who listens. */
  receipt(revision: string, receipt: Receipt): void;
  /** Ends what is open; the next call opens it again. */
  close(): void;
}
