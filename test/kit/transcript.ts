// Transcripts: what a user types and what he sees, as files that double as documentation.
//
//   # a comment
//   $ hatchway secret list        a command, for sh; a fresh line in one folder
//   NAME                          stdout, line by line; <*> stands for any text within a line
//   ----
//   2> error: …                   stderr
//   exit 3                        the exit code, where it is not 0
//                                 blank lines before the next command do not count
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";

interface Step {
  command: string;
  /** The lines below the command. */
  expected: string[];
}

export interface Played {
  command: string;
  expected: string;
  /** In the same form; a line that fits its pattern is that pattern. */
  actual: string;
}

export interface Stage {
  env: NodeJS.ProcessEnv;
  cwd: string;
}

/** Runs all commands of a transcript, one after the other, whatever they answer. */
export async function playTranscript(path: string, stage: Stage): Promise<Played[]> {
  const played: Played[] = [];
  for (const { command, expected } of parseTranscript(readFileSync(path, "utf8"))) {
    const lines = await run(command, stage);
    const actual = lines.map((line, index) => (fits(line, expected[index]) ? (expected[index] ?? line) : line));
    played.push({ command, expected: expected.join("\n"), actual: actual.join("\n") });
  }
  return played;
}

function parseTranscript(text: string): Step[] {
  const steps: Step[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("#")) continue;
    if (line.startsWith("$ ")) steps.push({ command: line.slice(2), expected: [] });
    else steps.at(-1)?.expected.push(line);
  }
  for (const { expected } of steps) while (expected.at(-1) === "") expected.pop();
  return steps;
}

function run(command: string, { env, cwd }: Stage): Promise<string[]> {
  return new Promise((resolve) => {
    execFile("sh", ["-c", command], { env, cwd }, (error, stdout, stderr) => {
      const lines = [...linesOf(stdout), ...linesOf(stderr).map((line) => `2> ${line}`)];
      if (error !== null) lines.push(`exit ${error.code}`);
      resolve(lines);
    });
  });
}

function linesOf(text: string): string[] {
  if (text === "") return [];
  return (text.endsWith("\n") ? text.slice(0, -1) : text).split("\n");
}

function fits(line: string, pattern: string | undefined): boolean {
  if (pattern === undefined || !pattern.includes("<*>")) return line === pattern;
  const parts = pattern.split("<*>").map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`));
  return new RegExp(`^${parts.join(".*")}$`).test(line);
}
