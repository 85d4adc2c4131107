import { randomBytes } from "node:crypto";
import type { ErrorBody } from "#api";
import { HatchwayError, httpStatus, toHatchwayError } from "#error";
import { ProtocolError } from "#protocol/error";

export interface Refusal {
  status: number;
  body: ErrorBody;
}

/**
 * What a client is told of `thrown`. A fault of ours is opaque: it gets an id, under which `report` is given the whole
 * chain of causes; what the operator has to look after (a store that does not answer) is reported as well.
 */
export function refuse(thrown: unknown, report: (line: string) => void): Refusal {
  const error = thrown instanceof ProtocolError ? asInvalid(thrown) : toHatchwayError(thrown);
  const status = httpStatus[error.code];
  if (error.code === "internal") {
    const id = randomBytes(6).toString("hex");
    report(`internal error ${id}: ${causes(error)}`);
    return {
      status,
      body: { error: `internal error ${id}`, code: "internal", hint: "the daemon's log has its cause" },
    };
  }
  if (status >= 500) report(causes(error));
  const hint = error.hint === undefined ? {} : { hint: error.hint };
  return { status, body: { error: error.message, code: error.code, ...hint } };
}

function asInvalid(problem: ProtocolError): HatchwayError {
  return new HatchwayError("invalid", problem.message, { cause: problem });
}

/** An error and its causes, outermost first, with where the innermost was thrown. */
function causes(error: Error): string {
  const messages: string[] = [];
  let stack: string | undefined;
  for (let at: unknown = error; at !== undefined && messages.length < 10;) {
    if (!(at instanceof Error)) {
      messages.push(`a ${typeof at} was thrown`);
      break;
    }
    messages.push(`${at.name}: ${at.message}`);
    stack = at.stack;
    at = at.cause;
  }
  const place = stack?.split("\n").find((line) => line.startsWith("    at "));
  return `${messages.join(" <- ")}${place === undefined ? "" : ` (${place.trim()})`}`;
}
