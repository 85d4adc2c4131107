import type { Command } from "commander";
import { examples, leaf, type Action, type Run } from "./command.ts";
import type { SshFlags } from "./ssh-client.ts";

export function addSshCommands(run: Run, program: Command): void {
  leaf(run, program, "push <vm>", "put a VM's secrets into a running guest without an agent", definePush, lazyPush);
  leaf(run, program, "fetch <socket>", "what sshd runs for a VM's key (see vm ssh-key)", defineFetch, lazyFetch);
}

const lazyPush: Action<SshFlags> = async (...all) => (await import("./push.ts")).pushSecrets(...all);

/** Loads native code, which few commands need. */
const lazyFetch: Action<object> = async (session, operands) =>
  (await import("./ssh-fetch.ts")).fetchBySsh(session, operands);

/** Where a guest is reached by the user's own ssh. */
export function sshFlags(command: Command): Command {
  return command
    .requiredOption("--ssh <user@guest>", "the guest, as you would name it to ssh")
    .option("-i, --identity <file>", "the key to log in with, and no other")
    .option("--port <number>", "the port of its sshd")
    .option("--ssh-config <file>", "a configuration of ssh in place of yours")
    .option("--sudo", "become root by sudo, which must not ask for a password");
}

function definePush(command: Command): Command {
  return sshFlags(command)
    .description(
      "Put what a VM has now into a running guest, by ssh, as files in memory under /run/hatchway/secrets. The guest " +
        "needs sh, tar and mount, and a login as root. A change is there when it is pushed again; variables, links and " +
        "reactions to a change need the agent.",
    )
    .addHelpText(
      "after",
      examples("hatchway push web-1 --ssh root@192.0.2.7", "hatchway push web-1 --ssh admin@web-1 -i key --sudo"),
    );
}

function defineFetch(command: Command): Command {
  return command.description(
    "Join the guest that comes by ssh to its VM's socket, for as long as it stays. It stands in the line that vm ssh-key " +
      "prints, so that sshd runs it for that VM's key in place of anything else; it is nothing to be typed.",
  );
}
