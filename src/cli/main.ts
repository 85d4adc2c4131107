// From arguments to an exit code.
import { CommanderError, type Command } from "commander";
import { exitCode, HatchwayError, toHatchwayError } from "#error";
import type { Run } from "./command.ts";
import type { Serve } from "./daemon-commands.ts";
import { INTERRUPTED, Interrupted, reportError } from "./failure.ts";
import type { LoadOffline } from "./offline.ts";
import { makeProgram } from "./program.ts";
import type { Terminal } from "./session.ts";

/** Runs one command. Never throws. `serve` and `offline` are passed in, since a client does not load servers. */
export async function main(
  argv: readonly string[],
  terminal: Terminal,
  serve: Serve,
  offline: LoadOffline,
): Promise<number> {
  const words = beforeDashes(argv);
  const run: Run = { terminal, exitCode: 0, words };
  const program = makeProgram(run, serve, offline);
  try {
    await program.parseAsync(normalise(argv, words.length), { from: "user" });
    return run.exitCode;
  } catch (thrown) {
    if (thrown instanceof Interrupted) return INTERRUPTED;
    const json = words.includes("--json");
    if (!(thrown instanceof CommanderError)) return reportError(terminal, describe(thrown), json);
    if (thrown.exitCode === 0) return 0;
    // A group without its command: commander has shown the help on stderr.
    if (thrown.code === "commander.help") return exitCode.invalid;
    return reportError(terminal, usageError(program, thrown, words), json);
  }
}

function beforeDashes(argv: readonly string[]): readonly string[] {
  const dashes = argv.indexOf("--");
  return dashes < 0 ? argv : argv.slice(0, dashes);
}

/**
 * `--wait=agent` is Slicer's spelling of the one thing that launching can wait for; `help secret create` is
 * `secret create --help`.
 */
function normalise(argv: readonly string[], length: number): string[] {
  const words = argv.map((word, index) => (index < length && word === "--wait=agent" ? "--wait" : word));
  return words[0] === "help" ? [...words.slice(1), "--help"] : words;
}

/** A fault of the client has no log to be looked up in, so its message is shown. */
function describe(thrown: unknown): HatchwayError {
  const error = toHatchwayError(thrown);
  if (error === thrown || !(thrown instanceof Error)) return error;
  return new HatchwayError("internal", `internal error: ${thrown.message}`, { cause: thrown });
}

/** Commander's words as one of our lines: `unknown option "--jsn"`, and the likely one as the hint. */
function usageError(program: Command, error: CommanderError, words: readonly string[]): HatchwayError {
  const [first = "", second = ""] = error.message.replace(/^error: /, "").split("\n");
  const message = first.replaceAll(/'([^']*)'/g, '"$1"').replace(/\.$/, "");
  const likely = /^\(Did you mean (?:one of )?(.*)\?\)$/.exec(second)?.[1];
  const greedy = words.find((word) => word === "--env" || word === "--file");
  const swallowed = error.code === "commander.missingArgument" && greedy !== undefined;
  const otherwise = swallowed ? `${greedy} took the word behind it: write ${greedy} last` : helpHint(program, words);
  return new HatchwayError("invalid", message, { hint: likely === undefined ? otherwise : `did you mean ${likely}` });
}

/** Names the help of the command that was meant, as far as its words go. */
function helpHint(program: Command, words: readonly string[]): string {
  let path = "hatchway";
  let command = program;
  for (const word of words) {
    const next = command.commands.find((one) => one.name() === word || one.aliases().includes(word));
    if (!next) continue;
    path += ` ${next.name()}`;
    command = next;
  }
  return `see: ${path} --help`;
}
