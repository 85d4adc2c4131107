import type { Command } from "commander";
import type { CloudInitFlags } from "./agent-cloud-init.ts";
import type { InstallFlags } from "./agent-install.ts";
import { examples, group, leaf, type Action, type Run } from "./command.ts";
import type { SshFlags } from "./ssh-client.ts";

export function addSshCommands(run: Run, program: Command): void {
  const agent = group(
    program,
    "agent",
    "install, cloud-init",
    "The guest agent: into a running guest, or into one that is to be made.",
  );
  leaf(run, agent, "install", "install the agent in a running guest, and start it", defineInstall, lazyInstall);
  leaf(
    run,
    agent,
    "cloud-init",
    "print what installs the agent at a guest's first boot",
    defineCloudInit,
    lazyCloudInit,
  );
  leaf(run, program, "push <vm>", "put a VM's secrets into a running guest without an agent", definePush, lazyPush);
  leaf(run, program, "fetch <socket>", "what sshd runs for a VM's key (see vm ssh-key)", defineFetch, lazyFetch);
}

const lazyCloudInit: Action<CloudInitFlags> = async (...all) =>
  (await import("./agent-cloud-init.ts")).printCloudInit(...all);

const lazyInstall: Action<InstallFlags> = async (...all) => (await import("./agent-install.ts")).installAgent(...all);

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

function defineInstall(command: Command): Command {
  return sshFlags(command)
    .option("--from <source>", "where the agent is to fetch from, such as ssh:web-1@vm-host (it finds out)")
    .option("--init <kind>", "systemd, openrc, or plain: a script for any other (it finds out)")
    .option("--dry-run", "look, and say what would be done")
    .description(
      "Copy the agent for the guest's architecture by ssh, check that it arrived whole, have the guest's init run it at " +
        "each boot, and start it. What is there already stays, so that a second time changes nothing.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway agent install --ssh root@192.0.2.7",
        "hatchway agent install --ssh admin@web-1 --sudo --from ssh:web-1@vm-host --dry-run",
      ),
    );
}

function defineCloudInit(command: Command): Command {
  return command
    .option("--from <source>", "where the agent is to fetch from (it finds out)")
    .option("--arch <name>", "of the guest: x86_64 or aarch64 (x86_64)")
    .option("--url <url>", "where the guest gets the agent from, in place of having it here; its digest is checked")
    .description(
      "Print user data for cloud-init, which puts the agent into a guest at its first boot, has its init run it, and " +
        "starts it. No secret is in it. With the agent it has some 400 KB, which is more than some clouds take: then --url.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway agent cloud-init >user-data",
        "hatchway agent cloud-init --from ssh:web-1@vm-host --url https://files.example/hatchway-agent",
      ),
    );
}

function defineFetch(command: Command): Command {
  return command.description(
    "Join the guest that comes by ssh to its VM's socket, for as long as it stays. It stands in the line that vm ssh-key " +
      "prints, so that sshd runs it for that VM's key in place of anything else; it is nothing to be typed.",
  );
}
