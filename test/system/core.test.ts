// A daemon that dies by a signal that would leave its memory in a file.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { onTestFinished, test } from "vitest";
import { DaemonProcess } from "#test/kit/daemon-process";
import { call } from "#test/kit/http";

const HATCHWAY = resolve(import.meta.dirname, "../../bin/hatchway");

/** Files that a program, with no limit to its core, leaves in an empty folder when `signal` ends it; core(5). */
async function left(command: string[], made: DaemonProcess, said: string, signal: NodeJS.Signals): Promise<string[]> {
  const cwd = mkdtempSync(join(made.folder, "core-"));
  const child = spawn("sh", ["-c", 'ulimit -c unlimited && exec "$@"', "sh", ...command], {
    cwd,
    env: made.env,
    stdio: ["ignore", "ignore", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let words = "";
  while (!words.includes(said)) words += String(((await once(child.stderr, "data")) as [Buffer])[0]);
  if (command[0] === HATCHWAY) await call(join(made.runtime, "hatchway.sock"), "PUT", "/secrets/db/value", "a value");
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
  return readdirSync(cwd);
}

test("a daemon that is ended by SIGSEGV or SIGABRT leaves no core, though another program does", async ({ expect }) => {
  const pattern = readFileSync("/proc/sys/kernel/core_pattern", "utf8").trim();
  // Where a program of the host takes all cores, it is asked nothing here: what counts is that the kernel makes none.
  const kept = !/[|/]/.test(pattern);
  const made = new DaemonProcess();
  onTestFinished(() => made[Symbol.asyncDispose]());
  for (const signal of ["SIGSEGV", "SIGABRT"] as const) {
    const other = await left(["sh", "-c", "echo here >&2; while :; do sleep 1; done"], made, "here", signal);
    expect(other.length, `core_pattern is "${pattern}"`).toBe(kept ? 1 : 0);
    expect(await left([HATCHWAY, "serve", "--session"], made, " serves session on ", signal)).toEqual([]);
  }
});
