// The glue between commander and the commands: a leaf command is a function of its session, operands and flags.
import { Command } from "commander";
import { makeSession, type Session, type Terminal } from "./session.ts";

/** Answers the exit code; undefined is 0. */
export type Action<Flags> = (
  session: Session,
  operands: readonly string[],
  flags: Flags,
) => Promise<number | undefined>;

export interface GlobalFlags {
  connect?: string;
  json?: true;
}

/** What all commands of one run share. */
export interface Run {
  terminal: Terminal;
  exitCode: number;
  /** The words of the command line before `--`; a group that is not among them needs no commands. */
  words: readonly string[];
}

const CONNECT_FLAG = [
  "-c, --connect <uri>",
  "the daemon: secret:///system, secret:///session, unix:///path, https://host:port, or embed:///root for none",
] as const;
const JSON_FLAG = ["--json", "answer, and fail, in JSON"] as const;

/** Adds a command with its own flags, and the global ones behind them. */
export function leaf<Flags>(
  run: Run,
  parent: Command,
  usage: string,
  summary: string,
  define: (command: Command) => Command,
  action: Action<Flags>,
): Command {
  const command = define(parent.command(usage).summary(summary));
  if (command.description() === "") command.description(`${summary[0]?.toUpperCase()}${summary.slice(1)}.`);
  return withGlobalFlags(command).action(async () => {
    const flags = flagsOf(command);
    const session = makeSession(run.terminal, flags);
    try {
      run.exitCode = (await action(session, command.args, flags as Flags)) ?? 0;
    } finally {
      await session.close();
    }
  });
}

/** The flags of a command and of those above it; the nearest wins. */
function flagsOf(command: Command): GlobalFlags {
  const above = command.parent === null ? {} : flagsOf(command.parent);
  return { ...above, ...command.opts<GlobalFlags>() };
}

/** Adds a group of commands, which takes the global flags as well. */
export function group(parent: Command, name: string, summary: string, description: string): Command {
  const command = parent.command(name).summary(summary).description(description).helpCommand(false);
  return withGlobalFlags(command);
}

/** Defined on each level, since commander lets a flag stand only where it is defined. */
export function withGlobalFlags(command: Command): Command {
  return command
    .optionsGroup("Global options:")
    .option(...CONNECT_FLAG)
    .option(...JSON_FLAG)
    .helpOption("-h, --help", "show this help");
}

/** Examples below a command's help. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`;
}

/** For a flag that may be repeated. */
export function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}
