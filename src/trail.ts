import type { Caller } from "#caller";

/**
 * The audit trail as it may be read: lines of JSON as docs/formats.md draws them, each with its newline. No line has a
 * value in it. All throw HatchwayError.
 */
export interface Trail {
  /** The last `lines` lines and, with a signal, those that come until it is aborted. */
  tail(caller: Caller, lines: number, signal?: AbortSignal): Promise<AsyncIterable<string>>;
  /** The lines that `filter` lets through, oldest first. */
  select(caller: Caller, filter: TrailFilter): Promise<AsyncIterable<string>>;
  /** Checks every line up to now. Throws "corrupt" with the first that does not hold. */
  verify(caller: Caller): Promise<TrailSummary>;
}

/** Each part that is there must fit. */
export interface TrailFilter {
  /** Milliseconds since 1970; a line of that very time fits. */
  since?: number;
  /** The same; a line of that very time does not fit. */
  until?: number;
  /** An operation, or the beginning of several: `secret.*`. */
  op?: string;
  secret?: string;
  /** By its name. */
  vm?: string;
}

export interface TrailSummary {
  files: number;
  lines: number;
  /** The first line that is there; not 1 where old files were taken away, and then only the next line vouches for it. */
  first?: { seq: number; time: string };
  last?: { seq: number; time: string };
}
