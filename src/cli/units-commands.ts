import type { Command } from "commander";
import { examples, leaf, type Action, type Run } from "./command.ts";
import type { UnitsFlags } from "./units.ts";

export const DAEMON_UNITS = ["hatchway.socket", "hatchway.service"] as const;
/** Those of the daemon, and those that bring this host's own units their secrets. */
export const UNITS = [
  "hatchway.socket",
  "hatchway.service",
  "hatchway-host.service",
  "hatchway-host-credentials.service",
] as const;
export const UNIT_FOLDER = "/etc/systemd/system";

export function addUnitsCommand(run: Run, program: Command): void {
  leaf(run, program, "units", "print or install the units of systemd for this host", defineUnits, lazyUnits);
}

/** Loads what reads and writes files, which no other command here needs. */
const lazyUnits: Action<UnitsFlags> = async (...all) => (await import("./units.ts")).units(...all);

function defineUnits(command: Command): Command {
  return command
    .option("--install", `write them to ${UNIT_FOLDER}; as root`)
    .option("--dir <folder>", "write them there instead")
    .option("--unit <name>", `one of ${UNITS.join(", ")}`)
    .description(
      "Print systemd's units for the system daemon, its admin socket, and the agent that brings this host's own units " +
        "their secrets, with the paths of this installation; or install them. Nothing is started or enabled.",
    )
    .addHelpText("after", examples("hatchway units --unit hatchway.service", "sudo hatchway units --install"));
}
