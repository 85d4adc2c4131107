import type { Command } from "commander";
import { leaf, type Action, type Run } from "./command.ts";

export function addSshCommands(run: Run, program: Command): void {
  leaf(run, program, "fetch <socket>", "what sshd runs for a VM's key (see vm ssh-key)", defineFetch, lazyFetch);
}

/** Loads native code, which few commands need. */
const lazyFetch: Action<object> = async (session, operands) =>
  (await import("./ssh-fetch.ts")).fetchBySsh(session, operands);

function defineFetch(command: Command): Command {
  return command.description(
    "Join the guest that comes by ssh to its VM's socket, for as long as it stays. It stands in the line that vm ssh-key " +
      "prints, so that sshd runs it for that VM's key in place of anything else; it is nothing to be typed.",
  );
}
