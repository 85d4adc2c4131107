/** Every way in which the agent gives up on something. */
export type AgentFault =
  /** The command line. */
  | "usage"
  /** This machine is not as the agent needs it: not root, no tmpfs, no source. */
  | "machine"
  /** The host cannot be reached, or went away: tried again soon. */
  | "host-gone"
  /** The host answered, but not as the guest API says. */
  | "host-answer"
  /** Another process of this guest holds the claim. */
  | "claim-held"
  /** A signal came while the agent waited. */
  | "interrupted"
  /** A set could not be written; the one before stays. */
  | "install";

export class AgentError extends Error {
  override readonly name = "AgentError";
  readonly fault: AgentFault;

  constructor(fault: AgentFault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}

export function isFault(error: unknown, ...faults: AgentFault[]): error is AgentError {
  return error instanceof AgentError && faults.includes(error.fault);
}

/** What was thrown, as one line. */
export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
