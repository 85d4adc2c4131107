// Starts QEMU as the runner user, so that it needs nothing of the process that starts it and outlives it.

import { spawn, type ChildProcess } from "node:child_process";
import { constants, accessSync, statSync } from "node:fs";
import { Socket } from "node:net";
import { delimiter, join } from "node:path";
import process from "node:process";
import { HatchwayError } from "#error";
import { stripControl } from "#printable";
import type { MachineSpec } from "#vmm";
import { qemuProgram } from "./qemu.ts";

/** A guest can make QEMU write warnings without end; so much of the newest is kept. */
const keptBytes = 4096;

/** A process that was started, and what it wrote last to its standard error. */
export interface Started {
  child: ChildProcess;
  /** The newest lines, fit for a terminal; the last one usually is the reason. */
  lastWords(): string;
}

/**
 * Runs QEMU with `args` as the runner, in its own session and with umask 177, so that its sockets are the runner's alone.
 * Guest memory is never written to a core file. Standard error is a pipe: nothing on a disk grows, and when we are gone
 * QEMU's words are lost and do it no harm. Throws HatchwayError "unsupported" when QEMU is not installed, "forbidden" when
 * only root could become the runner. Its descriptors from 3 on are those of ours that are `inherited`.
 */
export function spawnQemu(args: string[], runner: MachineSpec["runner"], inherited: readonly number[] = []): Started {
  return spawnAs(runner, [qemuPath(), ...args], "ignore", inherited);
}

/** The same for QEMU that is to end soon: after `seconds` it is killed. Its standard output is `child.stdout`. */
export function spawnProbe(args: string[], runner: MachineSpec["runner"], seconds: number): Started {
  return spawnAs(runner, ["timeout", "--signal=KILL", String(seconds), qemuPath(), ...args], "pipe");
}

/** Whether the runner can read a file, which only the kernel can tell: folders and groups have a say in it too. */
export async function runnerCanRead(runner: MachineSpec["runner"], path: string): Promise<boolean> {
  const asked = spawnAs(runner, ["/bin/sh", "-c", 'test -r "$1"', "sh", path], "ignore");
  // Other than for a machine, we stay for the end of this one.
  asked.child.ref();
  const status = await new Promise((resolve) => {
    asked.child.once("close", resolve);
  });
  const words = asked.lastWords();
  if (status === 0 || (status === 1 && words === "")) return status === 0;
  throw new HatchwayError("unavailable", `QEMU did not start: ${words}`);
}

function spawnAs(
  runner: MachineSpec["runner"],
  command: string[],
  stdout: "ignore" | "pipe",
  inherited: readonly number[] = [],
): Started {
  const script = 'umask 177; ulimit -c 0; exec "$@"';
  const child = spawn("/bin/sh", ["-c", script, "sh", ...becomeRunner(runner), ...command], {
    cwd: "/",
    detached: true,
    env: { PATH: "/usr/bin:/bin", LC_ALL: "C" },
    stdio: ["ignore", stdout, "pipe", ...inherited],
  });
  child.unref();
  return { child, lastWords: keepLastWords(child) };
}

function qemuPath(): string {
  const path = findProgram(qemuProgram);
  if (path !== undefined) return path;
  throw new HatchwayError("unsupported", `"${qemuProgram}" is not installed`, {
    hint: "apt-get install qemu-system-x86",
  });
}

/** The command that makes a command run as the runner, without any privilege to gain or keep. */
function becomeRunner(runner: MachineSpec["runner"]): string[] {
  const self = process.getuid?.();
  if (self === runner.uid) return ["setpriv", "--no-new-privs"];
  if (self !== 0) {
    throw new HatchwayError("forbidden", `user ${self} cannot start a machine as user ${runner.uid}; only root can`);
  }
  const groups = runner.name === undefined ? "--clear-groups" : "--init-groups";
  const ids = [`--reuid=${runner.name ?? runner.uid}`, `--regid=${runner.gid}`, groups];
  return ["setpriv", ...ids, "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs"];
}

/** The newest lines of what a process writes to its standard error, fit for a terminal. */
export function keepLastWords(child: ChildProcess): () => string {
  let kept = Buffer.alloc(0);
  const keep = (chunk: Buffer): void => {
    kept = Buffer.concat([kept, chunk]).subarray(-keptBytes);
  };
  child.stderr?.on("data", keep);
  // A pipe, which else would keep us from ending for as long as the child lives.
  if (child.stderr instanceof Socket) child.stderr.unref();
  child.on("error", (error) => keep(Buffer.from(error.message)));
  return () => stripControl(kept.toString("utf8")).trim();
}

function findProgram(name: string): string | undefined {
  return (process.env["PATH"] ?? "/usr/bin:/bin")
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find((path) => path.startsWith("/") && isExecutable(path));
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch (error) {
    if (["ENOENT", "EACCES", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  }
}
