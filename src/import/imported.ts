import type { AboutBody, DeliveryBody } from "#api";
import { HatchwayError } from "#error";

/** One secret as it was found elsewhere. */
export interface Imported {
  name: string;
  /** For who imports it to wipe. */
  value: Buffer;
  metadata: AboutBody & DeliveryBody;
}

export interface Found {
  secrets: Imported[];
  /** What is there and is no secret, with the reason. */
  skipped: { what: string; why: string }[];
}

/** A file that is not what it should be; the message holds nothing of its values. */
export function unreadable(kind: string, problem: string): HatchwayError {
  return new HatchwayError("invalid", `the ${kind} cannot be imported: ${problem}`);
}
