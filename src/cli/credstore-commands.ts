import type { Command } from "commander";
import type { SyncFlags } from "./credstore.ts";
import { examples, group, leaf, type Action, type Run } from "./command.ts";

export function addCredstoreCommands(run: Run, program: Command): void {
  const credstore = group(
    program,
    "credstore",
    "sync",
    "Secrets of this host's own units, as the encrypted credentials that systemd keeps.",
  );
  if (!run.words.includes("credstore")) return;
  leaf(run, credstore, "sync", "write what is attached, and remove what is not any more", defineSync, lazySync);
}

/** Loads what runs programs and writes files, which no other command here needs. */
const lazySync: Action<SyncFlags> = async (...all) => (await import("./credstore.ts")).syncCredstore(...all);

function defineSync(command: Command): Command {
  return command
    .option("--vm <name>", "the VM that stands for this host (host)")
    .option("--dir <folder>", "where systemd keeps them (/etc/credstore.encrypted)")
    .option("--with-key <key>", "of systemd-creds: host, tpm2, host+tpm2 or auto (auto: both, where there is a TPM2)")
    .option("--allow-reserved", "also names that systemd itself acts on, as root")
    .option("--dry-run", "only say what would be done")
    .description(
      "Has systemd-creds encrypt each secret that is attached to the VM that stands for this host, for this host and its " +
        "TPM2, each by its name, and removes those that are attached no more. A unit takes one by LoadCredentialEncrypted=NAME:/etc/credstore.encrypted/NAME. " +
        "No file is touched that an earlier sync did not write. As root.",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway vm create host --external --runner root --secret db-password",
        "hatchway credstore sync",
        "hatchway credstore sync --with-key tpm2",
      ),
    );
}
