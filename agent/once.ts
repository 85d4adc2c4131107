// `hatchway-agent secrets sync`: by oneself, or by the `run` that is alive.
import { AgentError, isFault } from "./error.ts";
import { removeLeftovers } from "./install.ts";
import { lockHolder, takeLock } from "./lock.ts";
import type { Origin } from "./origin.ts";
import type { Root } from "./root.ts";
import { initialStatus } from "./run.ts";
import { formatSource } from "./source.ts";
import { readStatus, writeStatus } from "./status.ts";
import { asFault, Synchroniser, type InForce } from "./sync.ts";
import { failedWith, type Sys } from "./sys.ts";

const SIGHUP = 1;
/** Longer than the run may be busy with what is done on a change. */
const PATIENCE_MS = 150_000;
const LOOK_MS = 20;

/** One synchronisation; the set in force afterwards. `host` is asked for only when nobody else does the work. */
export function syncOnce(sys: Sys, root: Root, host: () => Origin, log: (line: string) => void): InForce {
  const deadline = sys.monotonic() + PATIENCE_MS;
  /** The run that was asked, and how many synchronisations it had begun by then. */
  let asked: { pid: number; begun: number } | undefined;
  while (sys.monotonic() < deadline) {
    if (takeLock(sys, root, "sync")) return syncAlone(sys, root, host(), log);
    const holder = lockHolder(sys, root);
    if (holder?.role === "run" && asked?.pid !== holder.pid) asked = askRun(sys, root, holder.pid);
    const status = readStatus(sys, root);
    if (asked && status && status.done > asked.begun) {
      if (status.problem !== "") throw new AgentError("host-gone", status.problem);
      const { revision, secrets, refused } = status;
      return { revision, secrets, refused, fresh: false };
    }
    sys.poll(-1, 0, LOOK_MS);
  }
  throw new AgentError("host-gone", `the agent that is running did not answer within ${PATIENCE_MS / 1000} s`);
}

function askRun(sys: Sys, root: Root, pid: number): { pid: number; begun: number } | undefined {
  const begun = readStatus(sys, root)?.begun ?? 0;
  try {
    sys.kill(pid, SIGHUP);
    return { pid, begun };
  } catch (error) {
    // It has just ended: the lock is free, or another's.
    if (failedWith(error, "ESRCH")) return undefined;
    throw error;
  }
}

function syncAlone(sys: Sys, root: Root, host: Origin, log: (line: string) => void): InForce {
  removeLeftovers(sys, root);
  const before = { ...initialStatus(sys, root), source: formatSource(host.source) };
  try {
    const inForce = new Synchroniser(sys, root, host, log).synchronise({ wait: 0, retryRefused: true });
    const { revision, secrets, refused, fresh } = inForce;
    const now = new Date().toISOString();
    const applied = fresh ? now : before.applied;
    writeStatus(sys, root, {
      ...before,
      revision,
      secrets,
      refused,
      applied,
      contact: now,
      reachable: true,
      problem: "",
    });
    return inForce;
  } catch (thrown) {
    const fault = asFault(thrown);
    writeStatus(sys, root, {
      ...before,
      reachable: isFault(fault, "install", "host-answer", "claim-held"),
      problem: fault.message,
    });
    throw fault;
  } finally {
    host.close();
  }
}
