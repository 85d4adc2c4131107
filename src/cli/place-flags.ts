// --session, --system, --state: which daemon's folders a command is about.
import { resolve } from "node:path";
import type { Command } from "commander";
import { HatchwayError } from "#error";
import type { StatePlace } from "./offline.ts";

export interface PlaceFlags {
  session?: true;
  system?: true;
  state?: string;
}

export function placeFlags(command: Command): Command {
  return command
    .optionsGroup("Which store:")
    .option("--session", "your own (the default, but for root)")
    .option("--system", "the machine's (the default for root)")
    .option("--state <folder>", "the one in that folder");
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
