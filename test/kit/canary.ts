// Looks for one value in what processes wrote to files, were started with and said.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { attachStrace } from "#test/kit/strace";

/** The forms in which a value might have been kept: itself, base64 at each alignment, hex. */
export function formsOf(value: Buffer): Buffer[] {
  const inner = [0, 1, 2].map((skip) => value.subarray(skip, skip + 3 * Math.floor((value.length - skip) / 3)));
  return [value, ...inner.map((part) => Buffer.from(part.toString("base64"))), Buffer.from(value.toString("hex"))];
}

/** Whatever starts a program or puts bytes into a file, also into one that is removed again. */
const CALLS = ["execve", "write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "copy_file_range"];
/** Arguments, environment and bytes in full, descriptors with their paths (strace(1)). */
const OPTIONS = ["-f", "-qq", "-y", "-v", "-s", "4000000", "-e", `trace=${CALLS.join(",")}`];

/** How to run a command so that `log` has what it and its children did. */
export function recorded(log: string, command: readonly string[]): [string, string[]] {
  return ["strace", [...OPTIONS, "-o", log, ...command]];
}

/** The same of a process that runs already, until it ends. */
export async function recordProcess(log: string, pid: number): Promise<void> {
  await attachStrace(
    pid,
    spawn("strace", [...OPTIONS, "-o", log, "-p", `${pid}`], { stdio: ["ignore", "ignore", "pipe"] }),
  );
}

/**
 * The calls of a log that have one of `needles`, which must be printable: programs that were started with it, and files
 * that it was written to but for those that `mayHave`. Sockets and pipes are ways that a value may go.
 */
export function callsWith(log: string, needles: readonly Buffer[], mayHave: (path: string) => boolean): string[] {
  const words = needles.map((needle) => needle.toString("latin1"));
  const lines = readFileSync(log, "latin1").split("\n");
  return lines
    .filter((line) => words.some((word) => line.includes(word)))
    .filter((line) => {
      const path = /^[0-9]+ +[a-z0-9]+\([0-9]+<([^>]*)>/.exec(line)?.[1];
      return path === undefined || (path.startsWith("/") && !mayHave(path));
    })
    .map((line) => line.slice(0, 200));
}
