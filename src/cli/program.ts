// The command line as a whole: its groups, its help, and what commander is told.
import { Command } from "commander";
import { exitCode } from "#error";
import { VERSION } from "#version";
import { addAccessCommands } from "./access-commands.ts";
import { withGlobalFlags, type Run } from "./command.ts";
import { addBackupCommands } from "./backup-commands.ts";
import { addAuditCommands } from "./audit-commands.ts";
import { addCompletionCommand } from "./completion-commands.ts";
import { addCredstoreCommands } from "./credstore-commands.ts";
import { addDaemonCommands, type Serve } from "./daemon-commands.ts";
import { addImageCommands } from "./image-commands.ts";
import { addLibvirtCommands } from "./libvirt-commands.ts";
import { addShareCommand } from "./share-commands.ts";
import { addSecretCommands } from "./secret-commands.ts";
import { addKeyCommands } from "./key-commands.ts";
import { addPkiCommands } from "./pki-commands.ts";
import type { LoadOffline } from "./offline.ts";
import { addSshCommands } from "./ssh-commands.ts";
import { addStoreCommands } from "./store-commands.ts";
import { makeStyle } from "./style.ts";
import { addUnitsCommand } from "./units-commands.ts";
import { addVmCommands } from "./vm-commands.ts";

/** Commander throws CommanderError for all that it would have ended the process for, and reports no error itself. */
export function makeProgram(run: Run, serve: Serve, offline: LoadOffline): Command {
  const { stdout, stderr, env } = run.terminal;
  const style = makeStyle(stdout, env);
  const program = new Command("hatchway")
    .description("A secrets manager for virtual machines: each VM gets the secrets attached to it, and no others.")
    .exitOverride()
    .enablePositionalOptions()
    .configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: (text) => void stderr.write(text),
      outputError: () => {},
      getOutHelpWidth: () => Math.min(stdout.columns ?? 80, 120),
      getErrHelpWidth: () => Math.min(stderr.columns ?? 80, 120),
      getOutHasColors: () => true,
      getErrHasColors: () => true,
    })
    .configureHelp({ subcommandTerm, styleTitle: (title) => style.bold(title) });
  withGlobalFlags(program).version(`hatchway ${VERSION}`, "-V, --version", "show the version");
  program.commandsGroup("Secrets and VMs:");
  addSecretCommands(run, program);
  addVmCommands(run, program);
  addImageCommands(run, program);
  addLibvirtCommands(run, program);
  addShareCommand(run, program);
  program.commandsGroup("By ssh:");
  addSshCommands(run, program);
  program.commandsGroup("Access:");
  addAccessCommands(run, program);
  addPkiCommands(run, program);
  program.commandsGroup("The daemon:");
  addDaemonCommands(run, program, serve);
  addUnitsCommand(run, program);
  addCredstoreCommands(run, program);
  addKeyCommands(run, program, offline);
  addBackupCommands(run, program, offline);
  addStoreCommands(run, program, offline);
  addAuditCommands(run, program, offline);
  const groups = program.commands.map((command) => command.name());
  program.commandsGroup("Help:");
  addCompletionCommand(run, program, () => makeProgram({ ...run, words: groups }, serve, offline));
  program.helpCommand("help [command]", "show help for a command");
  return program.addHelpText("after", MORE_HELP);
}

/** `list|ls`, `vm launch <name>`: without `[options]`, which all have. */
function subcommandTerm(command: Command): string {
  const names = [command.name(), ...command.aliases()].join("|");
  const operands = command.registeredArguments.map((operand) => {
    const name = `${operand.name()}${operand.variadic ? "..." : ""}`;
    return operand.required ? `<${name}>` : `[${name}]`;
  });
  return [names, ...operands].join(" ");
}

const MEANINGS: readonly (readonly [code: number, meaning: string])[] = [
  [0, "done"],
  [exitCode.internal, "a fault of hatchway's own, which the daemon's log has; or something that doctor found"],
  [exitCode.invalid, "wrong usage or input; nothing was changed"],
  [exitCode["not-found"], "there is no such secret or VM"],
  [exitCode.exists, "there is one already, or somebody else changed it meanwhile"],
  [exitCode.forbidden, "not yours to do"],
  [exitCode.unavailable, "no daemon, or one that cannot serve now"],
  [exitCode.timeout, "the time was over"],
  [exitCode.corrupt, "the store has another key, or it or the audit trail is damaged"],
  [exitCode.unsupported, "this machine or version cannot"],
  [130, "interrupted"],
];

const MORE_HELP = `
Environment:
  HATCHWAY_URI           the daemon to talk to, where -c does not say it
  HATCHWAY_TOKEN_FILE    for http:// and https://: the private file with the bearer token
  HATCHWAY_CERT_FILE, HATCHWAY_KEY_FILE, HATCHWAY_CA_FILE
                         for https://: the client's certificate, its key (if it is not in that
                         file), the server's authority
  XDG_RUNTIME_DIR, XDG_STATE_HOME, XDG_CONFIG_HOME
                         where a session daemon has its socket, state, configuration
  NO_COLOR               no colours
  HATCHWAY_FROM_SOURCE   1: run the sources, not the bundle

Exit codes:
${MEANINGS.map(([code, meaning]) => `  ${String(code).padEnd(4)} ${meaning}`).join("\n")}

Examples:
  hatchway serve --session --background
  openssl rand -hex 16 | hatchway secret create db-password
  hatchway vm launch web-1 --secret db-password --wait
  hatchway secret update db-password --from-file new.txt --wait
  hatchway vm status web-1`;
