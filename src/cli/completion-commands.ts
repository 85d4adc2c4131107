import type { Command } from "commander";
import { connect } from "#client/connect";
import { candidatesFor, completionScript } from "./completion.ts";
import { examples, leaf, type Run } from "./command.ts";
import type { Session } from "./session.ts";

/** `whole` makes the program with the commands of all its groups. */
export function addCompletionCommand(run: Run, program: Command, whole: () => Command): void {
  const action = async (session: Session, [shell = "", ...words]: readonly string[]): Promise<undefined> => {
    if (shell === "candidates") await offerCandidates(session, whole(), words);
    else session.report({ shell, script: completionScript(shell) }, () => completionScript(shell));
  };
  leaf(run, program, "completion <shell> [words...]", "print what completes commands in a shell", define, action);
}

function define(command: Command): Command {
  return command
    .description(
      "Print a script that completes commands, flags and names of secrets and VMs in bash, zsh or fish.\n\n" +
        "`completion candidates -- WORD…` prints what may stand at the end of those words, one a line, each with its meaning.",
    )
    .addHelpText(
      "after",
      examples(
        "source <(hatchway completion bash)",
        "source <(hatchway completion zsh)",
        "hatchway completion fish | source",
      ),
    );
}

async function offerCandidates(session: Session, program: Command, words: readonly string[]): Promise<void> {
  const flag = words.findIndex((word) => word === "-c" || word === "--connect");
  const uri = flag < 0 ? undefined : words[flag + 1];
  const names = async (kind: "secret" | "vm"): Promise<string[]> => {
    const client = connect(uri, session.terminal.env);
    try {
      const all = kind === "vm" ? await client.vms() : await client.secrets();
      return all.map(({ name }) => name);
    } catch (error) {
      // Seen by who runs this by hand; the shells' scripts discard it, since Tab is no place for messages.
      session.warn(`no names of ${kind}s: ${error instanceof Error ? error.message : "unknown error"}`);
      return [];
    } finally {
      await client.close();
    }
  };
  const candidates = await candidatesFor(program, words, names);
  if (session.json) session.printJson(candidates);
  else for (const { word, summary } of candidates) session.print(`${word}\t${summary}`);
}
