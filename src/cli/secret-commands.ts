import type { Command } from "commander";
import { collect, examples, group, leaf, type Action, type Run } from "./command.ts";
import type { GenerateFlags } from "./secret-generate.ts";
import type { ImportFlags } from "./secret-import.ts";
import { checkSecrets, listSecrets, showSecret } from "./secret-read.ts";
import { refuseEdit, renameSecret, rollbackSecret, showHistory } from "./secret-versions.ts";
import { createSecret, removeSecrets, setSecret, updateSecret } from "./secret-write.ts";

export function addSecretCommands(run: Run, program: Command): void {
  const secret = group(
    program,
    "secret",
    "create, set, generate, import, update, list, show, history, rollback, rename, check, remove",
    "Secrets: values that go in and are never shown back, and how VMs get them.",
  );
  if (!run.words.includes("secret")) return;
  leaf(run, secret, "create <name>", "store a new secret", defineCreate, createSecret);
  leaf(run, secret, "set <name>", "store a secret, new or not", defineSet, setSecret);
  leaf(run, secret, "generate <name>", "make a value that nobody sees", defineGenerate, lazyGenerate);
  leaf(run, secret, "import [json-file]", "store many secrets from where they were", defineImport, lazyImport);
  leaf(run, secret, "update <name>", "change a secret's value, or how it is delivered", defineUpdate, updateSecret);
  leaf(run, secret, "list", "list secrets", defineList, listSecrets);
  leaf(run, secret, "show <name>", "show all about a secret but its value", (command) => command, showSecret);
  leaf(run, secret, "history <name>", "list the versions that are kept", (command) => command, showHistory);
  leaf(run, secret, "rollback <name>", "make an older version's value the newest", defineRollback, rollbackSecret);
  leaf(run, secret, "rename <old> <new>", "give a secret another name", defineRename, renameSecret);
  leaf(run, secret, "check <name...>", "exit 3 and list those names that are no secrets", defineCheck, checkSecrets);
  leaf(run, secret, "remove <name...>", "remove secrets, and take them back from VMs", defineRemove, removeSecrets);
  leaf(run, secret, "edit <name>", "refused: a value is never shown back", (command) => command, refuseEdit);
}

/** Loads node:crypto, which no other command here needs. */
const lazyGenerate: Action<GenerateFlags> = async (...all) =>
  (await import("./secret-generate.ts")).generateSecret(...all);

function defineGenerate(command: Command): Command {
  return changeFlags(
    command
      .optionsGroup("What is made (one):")
      .option("--password", "characters, drawn evenly")
      .option("--length <number>", "how many (32)")
      .option("--alphabet <characters>", "of which (A-Z a-z 0-9)")
      .option("--bytes <number>", "random bytes")
      .option("--ssh-key", "an Ed25519 key pair: <name> in OpenSSH's format, and <name>.pub")
      .option("--comment <text>", "in the public key (the secret's name)")
      .option("--tls <host>", "a P-256 key and its self-signed certificate: <name>.key and <name>.crt, in PEM")
      .option("--days <number>", "how long the certificate holds (365)")
      .optionsGroup("Where there is one already:")
      .option("--overwrite", "give it the new value"),
  )
    .description("Make a value and store it. It is never shown; of a key pair the public half is.")
    .addHelpText(
      "after",
      examples(
        "hatchway secret generate db-password --password --length 40",
        "hatchway secret generate deploy-key --ssh-key --comment deploy@web-1",
        "hatchway secret generate web --tls web.internal --days 90 --owner nginx",
      ),
    );
}

const lazyImport: Action<ImportFlags> = async (...all) => (await import("./secret-import.ts")).importSecrets(...all);

function defineImport(command: Command): Command {
  return command
    .optionsGroup("From where (one):")
    .option("--env-file <path>", "lines of NAME=value; each becomes a variable")
    .option("--dir <path>", "a folder with a file for each secret, whose mode and owner count")
    .option("--json-file <path>", '{"name": "value", …}; also: import --json <path>')
    .option("--bitwarden <path>", "an unencrypted JSON export of Bitwarden or Vaultwarden")
    .optionsGroup("How:")
    .option("--dry-run", "show what would be stored, and store nothing")
    .option("--overwrite", "give secrets that are there the new values")
    .description("Store many secrets at once. All names are checked before any is stored.")
    .addHelpText(
      "after",
      examples("hatchway secret import --env-file .env --dry-run", "hatchway secret import --dir .secrets --overwrite"),
    );
}

function valueFlags(command: Command): Command {
  return command
    .optionsGroup("Where the value comes from (one; stdin, or a hidden prompt on a terminal, if none):")
    .option("--from-file <path>", "a file or pipe, verbatim; - is stdin")
    .option("--value-file <path>", "the same")
    .option("--from-literal <value>", "the command line, where others can see it")
    .option("--from-stdin", "stdin")
    .option("--allow-empty", "accept a value of 0 bytes");
}

/** How a secret appears in a guest; the same flags for secrets and for grants. */
export function deliveryFlags(command: Command, otherwise: string): Command {
  return command
    .optionsGroup(`How VMs get it (${otherwise}):`)
    .option("--file [path]", "a file, at a path under the mount root; for an absolute path, a link there")
    .option("--env [variable]", "an environment variable, named as the secret if it is not said; no file")
    .option("--permissions <mode>", "the file's mode, in octal")
    .option("--mode <mode>", "the same")
    .option("--uid <number>", "the file's owner")
    .option("--gid <number>", "the file's group")
    .option("--owner <user[:group]>", "the file's owner by a name that the guest knows")
    .option("--link <path>", "an absolute guest path that becomes a link to the file");
}

function changeFlags(command: Command): Command {
  return aboutFlags(
    deliveryFlags(command, "a file with its name, mode 0600, owner root").option(
      "--on-change <action>",
      "what the guest does on a new value: reload:UNIT, restart:UNIT, signal:SIG:PIDFILE, exec:/CMD ARG…",
    ),
  );
}

function aboutFlags(command: Command): Command {
  return command
    .optionsGroup("What people see of it (it reaches no guest):")
    .option("--description <text>", 'one line; "" takes it away')
    .option("--label <name=value>", "a label; name- takes it away; repeatable", collect)
    .option("--default", "attach it to every new VM that does not refuse that")
    .option("--no-default", "do not");
}

function waitFlags(command: Command): Command {
  return command
    .optionsGroup("Waiting:")
    .option("--wait", "end when every VM that has it is in sync; exit 7 and name those that are not")
    .option("--timeout <duration>", "how long to wait (10s)");
}

function defineCreate(command: Command): Command {
  return changeFlags(valueFlags(command)).addHelpText(
    "after",
    examples(
      "openssl rand -hex 32 | hatchway secret create session-key",
      "hatchway secret create tls.key --from-file key.pem --owner nginx --permissions 0400",
      "hatchway secret create DB_PASSWORD --env",
    ),
  );
}

function defineSet(command: Command): Command {
  return waitFlags(changeFlags(valueFlags(command))).addHelpText(
    "after",
    examples("hatchway secret set db-password < password.txt", "hatchway secret set db-password --wait"),
  );
}

function defineUpdate(command: Command): Command {
  return waitFlags(changeFlags(valueFlags(command)).option("--no-env", "no variable any more; a file"))
    .description(
      "Change a secret's value, or how it is delivered.\n\n" +
        "With flags of delivery alone, the value stays and stdin is not read; to change both, say where the value " +
        "comes from (--from-stdin, --from-file).",
    )
    .addHelpText(
      "after",
      examples(
        "hatchway secret update db-password --from-file new.txt --wait --timeout 30s",
        "hatchway secret update db-password --permissions 0640 --gid 33",
      ),
    );
}

function defineList(command: Command): Command {
  return command
    .alias("ls")
    .option("-v, --verbose", "with size, permissions, uid and gid")
    .option(
      "--label <name=value>",
      "only those with that label, or with name alone whatever its value; repeatable",
      collect,
    )
    .addHelpText("after", examples("hatchway secret list --label team=web --label env"));
}

function defineRollback(command: Command): Command {
  return waitFlags(command.option("--to <version>", "which (the one before the current)"))
    .description("Make a new version with the value of an older one. VMs get it as they get any other.")
    .addHelpText(
      "after",
      examples("hatchway secret history db-password", "hatchway secret rollback db-password --to 3 --wait"),
    );
}

function defineRename(command: Command): Command {
  return command.description(
    "Give a secret another name. Its versions and grants stay. A VM that has it keeps its file where it is; to move it, " +
      "say --file with update.",
  );
}

function defineCheck(command: Command): Command {
  return command.addHelpText("after", examples("hatchway secret check db-password tls.key || exit 1"));
}

function defineRemove(command: Command): Command {
  return command.alias("rm").option("--revoke", "take them back from running VMs, which is done anyway");
}

/** The flags of launching that name secrets. */
export function secretFlags(command: Command): Command {
  return command
    .optionsGroup("Secrets (what the host's configuration says, if nothing is said here):")
    .option("--secret <name[:as]>", "attach a secret, under another path or variable; repeatable", collect)
    .option("--secrets <a,b,…>", "attach several")
    .option("--no-secrets", "attach none")
    .option("--no-default-secrets", "without those that are for every new VM (secret set --default)");
}
