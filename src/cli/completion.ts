// What Tab offers. The shells' scripts are a few lines that ask `hatchway completion candidates`, so there is one way to
// complete: commands and flags are the program's own, names of secrets and VMs are asked of the daemon.
import type { Command, Option } from "commander";
import { FORMS, VMMS, WIRED } from "#wiring";
import { HatchwayError } from "#error";

const ASK = "hatchway completion candidates --";

const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_hatchway() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("\${line%%$'\\t'*}")
  done < <(${ASK} "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _hatchway hatchway`,
  zsh: `#compdef hatchway
_hatchway() {
  local -a lines
  lines=("\${(@f)$(${ASK} "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -z "\${lines[1]}" ]]; then
    _files
  else
    lines=("\${(@)lines//$'\\t'/:}")
    _describe hatchway lines
  fi
}
compdef _hatchway hatchway`,
  fish: `function __hatchway_candidates
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (${ASK} $words[2..] 2>/dev/null)
    if test (count $lines) -gt 0
        printf '%s\\n' $lines
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c hatchway -f -a '(__hatchway_candidates)'`,
};

/** Throws "invalid" for a shell that there is no script for. */
export function completionScript(shell: string): string {
  const script = Object.hasOwn(SCRIPTS, shell) ? SCRIPTS[shell] : undefined;
  if (script !== undefined) return script;
  throw new HatchwayError("invalid", `there is no completion for "${shell}": for bash, zsh and fish there is`);
}

export interface Candidate {
  word: string;
  summary: string;
}

/** What may stand at the end of `words`, the last of which is begun, or empty. None: the shell offers files. */
export async function candidatesFor(
  program: Command,
  words: readonly string[],
  names: (kind: "secret" | "vm") => Promise<string[]>,
): Promise<Candidate[]> {
  const current = words.at(-1) ?? "";
  const place = placeOf(program, words.slice(0, -1));
  const all = place && (await offered(place, current, names));
  return (all ?? []).filter(({ word }) => word.startsWith(current));
}

/** Where the words lead. */
interface Place {
  command: Command;
  /** The words that led to the command. */
  path: string;
  /** Operands that are there already. */
  operands: number;
  /** The flag whose value comes next. */
  valueOf: Option | undefined;
}

/** Undefined behind `--`, where what follows is not ours. */
function placeOf(program: Command, words: readonly string[]): Place | undefined {
  const place: Place = { command: program, path: "", operands: 0, valueOf: undefined };
  for (const word of words) {
    if (word === "--") return undefined;
    if (place.valueOf) place.valueOf = undefined;
    else if (word.startsWith("-")) {
      const option = place.command.options.find(({ long, short }) => long === word || short === word);
      place.valueOf = option?.required === true ? option : undefined;
    } else {
      const below = place.command.commands.find((sub) => sub.name() === word || sub.aliases().includes(word));
      if (!below) place.operands++;
      else {
        place.command = below;
        place.path = `${place.path} ${below.name()}`.trimStart();
      }
    }
  }
  return place;
}

/** What flags take that take one of few words. */
const WORDS: Readonly<Record<string, { words: readonly string[]; summary: string }>> = {
  "--vmm": { words: VMMS, summary: "VMM" },
  "--channel": { words: WIRED, summary: "way into a VM" },
  "--form": { words: FORMS, summary: "language of a VMM" },
  "--guest": { words: ["systemd", "other"], summary: "guest" },
};

async function offered(
  { command, path, operands, valueOf }: Place,
  current: string,
  names: (kind: "secret" | "vm") => Promise<string[]>,
): Promise<Candidate[]> {
  const few = WORDS[valueOf?.long ?? ""];
  if (few) return few.words.map((word) => ({ word, summary: few.summary }));
  if (valueOf) return valueOf.long === "--secret" || valueOf.long === "--secrets" ? named("secret", names) : [];
  if (current.startsWith("-")) return flagsOf(command);
  const commands = command.commands.map((sub) => ({ word: sub.name(), summary: sub.summary() }));
  const operand = command.registeredArguments[Math.min(operands, command.registeredArguments.length - 1)];
  const past = operands >= command.registeredArguments.length && operand?.variadic !== true;
  const kind = operand && !past ? kindOf(path, operand.name()) : undefined;
  return kind === undefined ? commands : [...commands, ...(await named(kind, names))];
}

function flagsOf(command: Command): Candidate[] {
  const flags = command.options.filter(({ long }) => long !== undefined && long !== null);
  const all = flags.map(({ long, description }) => ({ word: long ?? "", summary: description }));
  return [...all, { word: "--help", summary: "show help" }];
}

async function named(kind: "secret" | "vm", names: (kind: "secret" | "vm") => Promise<string[]>): Promise<Candidate[]> {
  return (await names(kind)).map((word) => ({ word, summary: kind === "vm" ? "VM" : kind }));
}

/** What an operand names, by its word in the usage; undefined for a name that is yet to be made. */
function kindOf(path: string, operand: string): "secret" | "vm" | undefined {
  if (operand === "vm") return "vm";
  if (operand === "secret" || operand === "old") return "secret";
  if (operand !== "name") return undefined;
  if (/^secret (?!create\b|generate\b)/.test(path)) return "secret";
  return /^vm (?!create\b|launch\b)/.test(path) ? "vm" : undefined;
}
