import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";

/**
 * Makes system calls of a running process fail or hang, as strace(1) puts it: `fsync,fdatasync:error=EIO`. Resolves once
 * all its threads are attached to; the returned function ends it.
 */
export async function inject(pid: number, what: string): Promise<() => Promise<void>> {
  const [calls = ""] = what.split(":");
  const args = ["-f", "-q", "-e", `trace=${calls}`, "-e", `inject=${what}`, "-p", `${pid}`];
  const strace = spawn("strace", args, { stdio: ["ignore", "ignore", "pipe"] });
  await once(strace, "spawn").catch((error: unknown) => {
    throw new Error("this test needs strace: apt-get install strace", { cause: error });
  });
  const ended = once(strace, "close");
  await attached(pid, strace);
  return async () => {
    strace.kill("SIGINT");
    await ended;
  };
}

/** Every thread's status(5) names its tracer. */
async function attached(pid: number, strace: ChildProcess): Promise<void> {
  let said = "";
  strace.stderr?.on("data", (text: Buffer) => {
    said += text.toString();
  });
  for (;;) {
    if (strace.exitCode !== null) throw new Error(`strace ended: ${said}`);
    const threads = await readdir(`/proc/${pid}/task`);
    const traced = await Promise.all(
      threads.map(async (thread) => {
        const status = await readFile(`/proc/${pid}/task/${thread}/status`, "utf8");
        return status.includes(`TracerPid:\t${strace.pid}\n`);
      }),
    );
    if (traced.every(Boolean)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
