import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { isErrno } from "#host/files";

export interface Injection {
  /** The calls that were made to fail so far, as strace shows them: `fdatasync(21</path>) = -1 EIO …`. */
  hits(): string[];
  /** Ends it. */
  release(): Promise<void>;
}

/**
 * Makes system calls of a running process fail or hang, as strace(1) puts it: `fsync,fdatasync:error=EIO`. Resolves once
 * all its threads are attached to; the returned function ends it.
 */
export async function inject(pid: number, what: string): Promise<() => Promise<void>> {
  const made = await injection(pid, what);
  return () => made.release();
}

/** The same, and tells what it did. With `:when=N` it is the N-th call of each thread. */
export async function injection(pid: number, what: string): Promise<Injection> {
  const [calls = ""] = what.split(":");
  const args = ["-f", "-q", "-y", "-e", `trace=${calls}`, "-e", `inject=${what}`, "-p", `${pid}`];
  const strace = spawn("strace", args, { stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(strace, "close");
  const said = await attachStrace(pid, strace);
  return {
    hits: () =>
      said()
        .split("\n")
        .filter((line) => /\(INJECTED\)|\+\+\+ killed by SIGKILL/.test(line)),
    release: async () => {
      strace.kill("SIGINT");
      // One whose process was killed under it may wait for that for ever.
      const late = setTimeout(() => strace.kill("SIGKILL"), 2_000);
      await ended;
      clearTimeout(late);
    },
  };
}

/** Resolves once a strace that was just spawned has all threads of `pid`, with what it says on stderr so far. */
export async function attachStrace(pid: number, strace: ChildProcess): Promise<() => string> {
  await once(strace, "spawn").catch((error: unknown) => {
    throw new Error("this test needs strace: apt-get install strace", { cause: error });
  });
  let said = "";
  strace.stderr?.on("data", (text: Buffer) => {
    said += text.toString();
  });
  await attached(pid, strace, () => said);
  return () => said;
}

/** Every thread's status(5) names its tracer. */
async function attached(pid: number, strace: ChildProcess, said: () => string): Promise<void> {
  for (;;) {
    if (strace.exitCode !== null) throw new Error(`strace ended: ${said()}`);
    try {
      const threads = await readdir(`/proc/${pid}/task`);
      const traced = await Promise.all(
        threads.map(async (thread) => {
          const status = await readFile(`/proc/${pid}/task/${thread}/status`, "utf8");
          return status.includes(`TracerPid:\t${strace.pid}\n`);
        }),
      );
      if (traced.every(Boolean)) return;
    } catch (error) {
      // What is injected may have ended it already.
      if (!isErrno(error, "ENOENT") && !isErrno(error, "ESRCH")) throw error;
      if (!(await isThere(pid))) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function isThere(pid: number): Promise<boolean> {
  try {
    await readdir(`/proc/${pid}/task`);
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT") || isErrno(error, "ESRCH")) return false;
    throw error;
  }
}
