/** What a client asks of a daemon. */
export interface Request {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With its query. */
  path: string;
  headers?: Readonly<Record<string, string>>;
  /** Stays the caller's, who wipes it. */
  body?: Buffer;
  /** Milliseconds in which the daemon has to begin its answer, and to go on with it; 0: for ever. */
  patience?: number;
}

/** Milliseconds. */
export const DEFAULT_PATIENCE = 60_000;
