// The transcripts in README.md and docs/: every ```console block is run, in order, and its output is what is shown.
//
//   $ COMMAND      run by a shell on the host; `hatchway` is bin/hatchway, and everything else is the host's
//   # COMMAND      run by root's shell in the VM web-1
//   LINE           what it writes, stdout and stderr; `…` stands for anything in a line, alone for any number of lines
//
// Without lines below it, a command's output is not compared. A command shows an `error:` line if and only if it fails.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const ROOT = resolve(import.meta.dirname, "../..");

export interface Step {
  /** The line of the document, from 1. */
  line: number;
  where: "host" | "guest";
  command: string;
  /** Lines, none if they are not shown. */
  expected: string[];
}

/** The steps of a document, and what its fenced blocks are called (` ```NAME `). */
export function readTranscript(path: string): { steps: Step[]; blocks: string[] } {
  const steps: Step[] = [];
  const blocks: string[] = [];
  let block: string | undefined;
  for (const [index, text] of readFileSync(join(ROOT, path), "utf8").split("\n").entries()) {
    const fence = /^```(.*)$/.exec(text);
    if (fence) {
      block = block === undefined ? fence[1] : undefined;
      if (block !== undefined) blocks.push(block);
    } else if (block === "console") {
      const [, prompt, command] = /^([$#]) (.*)$/.exec(text) ?? [];
      const where = prompt === "#" ? "guest" : "host";
      if (command !== undefined) steps.push({ line: index + 1, where, command, expected: [] });
      else steps.at(-1)?.expected.push(text);
    }
  }
  return { steps, blocks };
}

export interface Ran {
  code: number;
  output: string;
}

/** A user's machine as a document presumes it: nothing of Hatchway runs yet. */
export class Desk implements AsyncDisposable {
  /** Short, for the sake of unix sockets. */
  readonly folder: string = mkdtempSync("/tmp/hd.");
  /** In memory, as a user's runtime folder is. */
  readonly #runtime: string = mkdtempSync("/dev/shm/hd.");
  readonly #env: NodeJS.ProcessEnv;

  constructor() {
    for (const name of ["s", "c"]) mkdirSync(join(this.folder, name), { mode: 0o700 });
    this.#env = {
      PATH: [join(ROOT, "bin"), process.env["PATH"]].join(delimiter),
      HOME: this.folder,
      XDG_STATE_HOME: join(this.folder, "s"),
      XDG_CONFIG_HOME: join(this.folder, "c"),
      XDG_RUNTIME_DIR: this.#runtime,
      HATCHWAY_URI: "secret:///session",
      HATCHWAY_NO_AF_VSOCK: "1",
    };
  }

  async run({ where, command }: Pick<Step, "where" | "command">): Promise<Ran> {
    const argv =
      where === "host" ? ["bash", "-c", command] : ["hatchway", "vm", "shell", "web-1", "--", "sh", "-c", command];
    const child = spawn("bash", ["-c", 'exec "$@" 2>&1', "bash", ...argv], {
      env: this.#env,
      cwd: this.folder,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    const [code] = (await once(child, "close")) as [number | null];
    return { code: code ?? -1, output: Buffer.concat(chunks).toString() };
  }

  /** Ends what the document left running, and takes the folder away. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { code, output } = await this.run({ where: "host", command: "hatchway status --json" });
    if (code === 0) {
      const { pid, vms } = JSON.parse(output) as { pid: number; vms: { name: string }[] };
      const names = vms.map(({ name }) => name).join(" ");
      if (names !== "") await this.run({ where: "host", command: `hatchway vm remove ${names}` });
      process.kill(pid, "SIGTERM");
      while ((await this.run({ where: "host", command: `test -d /proc/${pid}` })).code === 0) await sleep(50);
    }
    rmSync(this.folder, { recursive: true, force: true });
    rmSync(this.#runtime, { recursive: true, force: true });
  }
}

/** Why what was written is not what the document shows; undefined if it is. */
export function mismatch({ expected }: Step, { code, output }: Ran): string | undefined {
  const fails = expected.some((line) => line.startsWith("error:"));
  if ((code !== 0) !== fails) return `it ended with ${code}`;
  if (expected.length === 0) return undefined;
  const pattern = expected.map((line) =>
    line === "…"
      ? "(?:.*\n)*?"
      : `${line
          .split("…")
          .map((part) => RegExp.escape(part))
          .join(".*")}\n`,
  );
  const whole = output === "" || output.endsWith("\n") ? output : `${output}\n`;
  return new RegExp(`^${pattern.join("")}$`).test(whole) ? undefined : "its output is not as shown";
}
