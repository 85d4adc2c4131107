import { lstat } from "node:fs/promises";

/** What is wrong in the folder, by file; "" is the folder itself. Each is told once, and again when it changed. */
export class Problems {
  readonly #folder: string;
  readonly #tell: (line: string) => void;
  readonly #found = new Map<string, string>();

  constructor(folder: string, tell: (line: string) => void) {
    this.#folder = folder;
    this.#tell = tell;
  }

  /** `problem` follows the quoted name; undefined: there is none, or none any more. Answers whether it is a new one. */
  say(name: string, problem: string | undefined): boolean {
    if (this.#found.get(name) === problem) return false;
    if (problem === undefined) return !this.#found.delete(name);
    this.#found.set(name, problem);
    this.#tell(`warning: ${quoted(name === "" ? this.#folder : name)} ${problem}`);
    return true;
  }

  /** Sorted by name. */
  list(): { name: string; problem: string }[] {
    const found = [...this.#found].map(([name, problem]) => ({ name, problem }));
    return found.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Says whether others may look into the folder, or put secrets there. */
  async sayFolder(): Promise<void> {
    const mode = (await lstat(this.#folder)).mode & 0o777;
    const open = (mode & 0o077) !== 0;
    const octal = mode.toString(8).padStart(4, "0");
    this.say("", open ? `has mode ${octal}, so others can get at secrets: it should be 0700` : undefined);
  }
}

function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 160));
}
