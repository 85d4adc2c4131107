// --session, --system, --state: which daemon's folders a command is about.
import { resolve } from "node:path";
import { HatchwayError } from "#error";
import type { StatePlace } from "./offline.ts";

export interface PlaceFlags {
  session?: true;
  system?: true;
  state?: string;
}

/** Without a flag, root means the machine's and anyone else his own. */
export function readPlace(flags: PlaceFlags): StatePlace {
  if (flags.session === true && flags.system === true) {
    throw new HatchwayError("invalid", "--session and --system contradict each other");
  }
  const isSystem = flags.system ?? (flags.session !== true && process.getuid?.() === 0);
  return {
    mode: isSystem ? "system" : "session",
    ...(flags.state !== undefined && { stateDirectory: resolve(flags.state) }),
  };
}
