// Processes by identity. A process id alone says nothing after its process has ended, since it is used again.

import { readFileSync } from "node:fs";
import { HatchwayError } from "#error";
import type { Runner } from "#vm";
import type { ProcessIdentity } from "#vmm";

/** State and start time from the one line of /proc/PID/stat, proc(5). */
export function parseStat(line: string): { state: string; startTime: number } {
  // Field 2 is the program's name in parentheses and may hold both spaces and parentheses: count from its end.
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const state = fields[0];
  const startTime = Number(fields[19]);
  if (line.lastIndexOf(")") < 0 || state === undefined || !Number.isSafeInteger(startTime)) {
    throw new HatchwayError("internal", "a line of /proc/PID/stat has not the form that proc(5) gives");
  }
  return { state, startTime };
}

/** The identity of the process that has `pid` now; undefined when none has it, or one that has ended (a zombie). */
export function identify(pid: number): ProcessIdentity | undefined {
  const line = readProc(`/proc/${pid}/stat`);
  if (line === undefined) return undefined;
  const { state, startTime } = parseStat(line);
  return state === "Z" || state === "X" ? undefined : { pid, startTime, bootId: bootId() };
}

export function isAlive(process: ProcessIdentity): boolean {
  const now = identify(process.pid);
  return now !== undefined && isSameProcess(now, process);
}

export function isSameProcess(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return a.pid === b.pid && a.startTime === b.startTime && a.bootId === b.bootId;
}

/** Whose a process is: the uid and gid that it acts as. Undefined when it is gone. */
export function ownerOf(pid: number): Runner | undefined {
  const status = readProc(`/proc/${pid}/status`);
  if (status === undefined) return undefined;
  const uid = /^Uid:\t\d+\t(\d+)\t/m.exec(status)?.[1];
  const gid = /^Gid:\t\d+\t(\d+)\t/m.exec(status)?.[1];
  if (uid === undefined || gid === undefined) {
    throw new HatchwayError("internal", `/proc/${pid}/status has not the form that proc(5) gives`);
  }
  return { uid: Number(uid), gid: Number(gid) };
}

/** Milliseconds between two looks at a process that is no child of ours. */
const LOOK_MS = 1_000;

/** Settles when a process is gone, some time after it is, or at once when `signal` is aborted. */
export function untilGone(process: ProcessIdentity, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = (): void => {
    if (signal.aborted || !isAlive(process)) finish();
  };
  const timer = setInterval(look, LOOK_MS);
  const finish = (): void => {
    clearInterval(timer);
    signal.removeEventListener("abort", finish);
    resolve();
  };
  timer.unref();
  signal.addEventListener("abort", finish);
  look();
  return promise;
}

/** Sends `signal` if the process still is the one that is meant; says whether it was sent. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch (error) {
    if (errorCode(error) === "ESRCH") return false;
    throw new HatchwayError("internal", `process ${identity.pid} cannot be sent ${signal}`, { cause: error });
  }
}

/** Identifies this boot of the host. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    // ESRCH: the process ended between open and read.
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ESRCH") return undefined;
    throw error;
  }
}

function errorCode(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
