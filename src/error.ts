// One error for everything that a user can be told. A message is lower case, has no full stop, quotes names, says what
// is and what should be, and never holds a value. What is not a HatchwayError is a fault of ours: outside it is only
// "internal error" with an id, and its cause chain is in the log.

export type ErrorCode =
  | "rate-limited" // too many failures; later
  | "invalid" // the request breaks a rule; nothing was done
  | "unauthenticated" // no claim, or not the right one
  | "forbidden" // known caller, not his to do
  | "not-found"
  | "exists" // the name is taken
  | "conflict" // somebody else changed it meanwhile
  | "too-large"
  | "timeout"
  | "unavailable" // no daemon, a disk that does not answer, an audit that cannot be written
  | "locked" // another process has it
  | "sealed" // the keys are wiped until somebody opens them again
  | "unsupported" // this machine or version cannot
  | "wrong-key" // the store is sealed by another key
  | "corrupt" // what was read is not what was written
  | "internal";

export interface ErrorOptions {
  /** What to do about it: one line, shown below the message. */
  hint?: string;
  cause?: unknown;
}

export class HatchwayError extends Error {
  override readonly name = "HatchwayError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** A code that is missing here does not compile. */
export const httpStatus: Record<ErrorCode, number> = {
  invalid: 400,
  unauthenticated: 401,
  forbidden: 403,
  "not-found": 404,
  timeout: 408,
  exists: 409,
  conflict: 409,
  "too-large": 413,
  "rate-limited": 429,
  internal: 500,
  corrupt: 500,
  "wrong-key": 500,
  unsupported: 501,
  unavailable: 503,
  locked: 503,
  sealed: 503,
};

/** The CLI's exit codes; `hatchway --help` lists them. */
export const exitCode: Record<ErrorCode, number> = {
  internal: 1,
  invalid: 2,
  "too-large": 2,
  "not-found": 3,
  exists: 4,
  conflict: 4,
  forbidden: 5,
  unauthenticated: 5,
  unavailable: 6,
  locked: 6,
  sealed: 6,
  "rate-limited": 6,
  timeout: 7,
  "wrong-key": 8,
  corrupt: 8,
  unsupported: 9,
};

/**
 * The error itself, or an opaque one around what was thrown. The CLI and the daemon are bundles of their own, each with
 * its copy of the class, so the name is what counts.
 */
export function toHatchwayError(thrown: unknown): HatchwayError {
  if (thrown instanceof Error && thrown.name === "HatchwayError") return thrown as HatchwayError;
  return new HatchwayError("internal", "internal error", { cause: thrown });
}
