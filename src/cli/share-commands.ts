import type { Command } from "commander";
import { SHARED_BY } from "#share";
import { examples, leaf, type Action, type Run } from "./command.ts";
import type { ShareFlags } from "./share.ts";

export function addShareCommand(run: Run, program: Command): void {
  leaf(run, program, "share <vm>", "keep what a VM has in a folder, to share it with the guest", define, lazyShare);
}

/** Loads what makes keys and writes shares, which no other command here needs. */
const lazyShare: Action<ShareFlags> = async (...all) => (await import("./share.ts")).shareVm(...all);

function define(command: Command): Command {
  return command
    .requiredOption("--out <folder>", "the folder; made where it is missing, else of an earlier share")
    .option("--watch", "go on, and bring the folder up to date whenever something changes")
    .optionsGroup("Sealed (one file, bundle.age, by whatever it is shared):")
    .option("--key <file>", "the key that it is sealed to, on a tmpfs; made where there is none")
    .option("--recipient <age1…>", "seal it to this recipient of age")
    .optionsGroup("Plain (files with modes and owners, on a tmpfs):")
    .option("--plain", "seal nothing")
    .option("--for <way>", `what it will be shared by: ${SHARED_BY.join(", ")}`)
    .option("--allow-exposed", "also by smb and nfs, where more than the guest's root can read it")
    .description(
      "Writes all that a VM has into a folder that a guest can mount by 9p, virtiofs, SMB, NFS or SSHFS, so that who reads " +
        "there sees the old set or the new one and never a mixture. Each value that leaves has a line in the audit trail.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway share web-1 --out /run/share/web-1 --key /run/web-1.key --watch",
        "hatchway share web-1 --out /run/share/web-1 --plain --for virtiofs",
      ),
    );
}
