// System calls of `store migrate` that fail, or are its last: what it said is done is, and run again it ends with
// nothing lost, whichever way it went.
import { spawn, type ChildProcess } from "node:child_process";
import { hash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, onTestFinished, test } from "vitest";
import type { SecretBody } from "#api";
import { DaemonProcess, endOf } from "#test/kit/daemon-process";
import { faultSweep } from "#test/kit/fault-cases";
import { bundle } from "#test/kit/session-daemon";
import { injection, type Injection } from "#test/kit/strace";
import { until } from "#test/kit/until";

const sweep = faultSweep(4, "migrate");
const HATCHWAY = join(import.meta.dirname, "../../bin/hatchway");

/** Node stops itself before the first line of ours, so that the calls are counted from there. */
const STOP =
  'import { isMainThread } from "node:worker_threads"; if (isMainThread) process.kill(process.pid, "SIGSTOP");';
const STOPPED = `--import=data:text/javascript,${encodeURIComponent(STOP)}`;

const THERE = ["sqlite", "directory"];
const BACK = ["directory", "sqlite", "--remove-files"];

const values: Record<string, string> = {
  empty: "",
  large: "large ".repeat(3_000),
  short: "short",
  TOKEN: "a token",
};

beforeAll(bundle);

test(
  `nothing is lost whichever system call of a migration fails or is its last (${sweep.label})`,
  {
    timeout: 60_000 + sweep.cases.length * 30_000,
  },
  async ({ expect }) => {
    const made = new DaemonProcess();
    onTestFinished(() => made[Symbol.asyncDispose]());
    made.env["HATCHWAY_FROM_SOURCE"] = "";
    const before = await filled(made);
    let hits = 0;

    const migrate = async (what: string, args: readonly string[]): Promise<number> => {
      const child = stopped(made, args);
      const isStopped = (): boolean => stateOf(child) === "T";
      await until("it is stopped", async () => isStopped());
      const injected = await injection(child.pid ?? 0, what);
      const ended = once(child, "exit") as Promise<[number | null, string | null]>;
      child.kill("SIGCONT");
      const end = endlessEnd(child, injected);
      const [code] = await ended;
      clearInterval(end);
      await injected.release();
      const hit = injected.hits();
      if (hit.some((line) => isFailedSync(line))) expect(code, `${what}: ${hit.join("\n")}`).not.toBe(0);
      if (code === 0) expect(contents(made), what).toEqual(args === THERE ? digests(values) : {});
      const again = await made.run(["store", "migrate", ...args, "--session"]);
      expect(again, `${what}, then again`).toMatchObject({ code: 0 });
      expect(contents(made), `${what}, then again`).toEqual(args === THERE ? digests(values) : {});
      return hit.length;
    };

    for (const one of sweep.cases) {
      if (sweep.isSpent(one)) continue;
      const hit = (await migrate(one.what, THERE)) + (await migrate(one.what, BACK));
      if (hit > 0) hits++;
      sweep.tried(one, hit);
    }
    console.log(`${hits} faults hit a call`);
    expect(hits).toBeGreaterThan(0);
    expect(await seen(made)).toEqual(before);
  },
);

/** A store with something in it, and no daemon; what a user sees of it. */
async function filled(made: DaemonProcess): Promise<unknown> {
  const daemon = await made.serve();
  for (const [name, value] of Object.entries(values)) {
    await made.ok(["secret", "set", name], `${name}, before`);
    await made.ok(["secret", "set", name, "--mode", "0440", "--allow-empty"], value);
  }
  await made.ok(["vm", "create", "web", "--secret", "short", "--secret", "TOKEN"]);
  await made.ok(["vm", "attach", "web", "large", "--pin"]);
  await endOf(daemon, "SIGTERM");
  return seen(made);
}

async function seen(made: DaemonProcess): Promise<unknown> {
  const daemon = await made.serve();
  const secrets = JSON.parse(await made.ok(["secret", "list", "--json"])) as SecretBody[];
  const vm = JSON.parse(await made.ok(["vm", "show", "web", "--json"])) as { secrets: string[] };
  const histories = [];
  for (const { name } of secrets) histories.push(await made.ok(["secret", "history", name, "--json"]));
  await made.ok(["audit", "verify"]);
  await endOf(daemon, "SIGTERM");
  return { secrets, histories, secretsOfVm: vm.secrets };
}

/** For words that are short where they differ. */
function digests(files: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [name, hash("sha256", text)]));
}

function stopped(made: DaemonProcess, args: readonly string[]): ChildProcess {
  // One thread for all files, so that the N-th call is the N-th.
  const env = { ...made.env, UV_THREADPOOL_SIZE: "1", NODE_OPTIONS: STOPPED };
  return spawn(HATCHWAY, ["store", "migrate", ...args, "--session"], { env, stdio: "ignore" });
}

/**
 * koffi syncs our own output when the process ends, and waits for itself for ever where that fails: such a process is
 * killed, as what it said has been said before.
 */
function endlessEnd(child: ChildProcess, injected: Injection): NodeJS.Timeout {
  return setInterval(() => {
    if (injected.hits().some((line) => /^(?:\[pid +[0-9]+\] )?fsync\([12]</.test(line))) child.kill("SIGKILL");
  }, 100);
}

/** The state's letter of proc_pid_stat(5). */
function stateOf({ pid }: ChildProcess): string | undefined {
  return /^[0-9]+ \(.*\) (.)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];
}

/** All files of the folder but the one that says whose it is: no half of one is left either. */
function contents(made: DaemonProcess): Record<string, string> {
  const folder = join(made.state, ".secrets");
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => name !== ".hatchway-store") : [];
  return digests(Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), "utf8")])));
}

/**
 * A sync that failed, and not a process that was killed in one. What is brought from the store's log into its database at
 * the end has been synced in the log, and is brought there again by the next who opens it.
 */
function isFailedSync(hit: string): boolean {
  return /^(?:\[pid +[0-9]+\] )?f(?:data)?sync\((?![12]<|[0-9]+<[^>]*-wal>)/.test(hit);
}
