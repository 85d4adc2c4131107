// System calls of a daemon that fail, or are its last, while a client changes things: what was answered is there after
// the next start, with its line in the audit trail, and of what was not there is the old or the new.
import { once } from "node:events";
import { join } from "node:path";
import { beforeAll, describe, onTestFinished, test } from "vitest";
import { DaemonProcess, type Serving } from "#test/kit/daemon-process";
import { shuffled } from "#test/kit/seeded";
import { bundle } from "#test/kit/session-daemon";
import { injection, type Injection } from "#test/kit/strace";
import { Witness } from "#test/kit/witness";

/** How many occurrences of each call are tried, with each fault; without it, a sample of all that. */
const SWEEP = process.env["HATCHWAY_FAULT_SWEEP"];
const OCCURRENCES = Number(SWEEP ?? 8);
const SAMPLE = 14;

const CALLS = ["openat", "write", "pwrite64", "fdatasync", "fsync", "rename", "unlink"];
const FAULTS = ["error=EIO", "error=ENOSPC", "signal=SIGKILL"];

interface Case {
  call: string;
  fault: string;
  occurrence: number;
}

const every: Case[] = CALLS.flatMap((call) =>
  FAULTS.flatMap((fault) => Array.from({ length: OCCURRENCES }, (_, at) => ({ call, fault, occurrence: at + 1 }))),
);
// A call that no operation makes as often is not tried more often: the sweep goes on with the next.
const cases = SWEEP === undefined ? shuffled(every, "faults").slice(0, SAMPLE) : every;

/** One daemon after another over the same state, each with a fault of its own. */
class Trial {
  readonly made: DaemonProcess = new DaemonProcess();
  daemon: Serving | undefined;
  #witness: Witness | undefined;

  async start(): Promise<Witness> {
    // One thread for all files, so that the N-th call is the N-th.
    const serving = await this.made.serve({ HATCHWAY_FROM_SOURCE: "", UV_THREADPOOL_SIZE: "1" });
    this.daemon = serving;
    const socket = join(this.made.runtime, "hatchway.sock");
    return (this.#witness ??= await Witness.of(socket, join(this.made.state, "audit.jsonl")));
  }

  get ended(): boolean {
    const child = this.daemon?.child;
    return child === undefined || child.exitCode !== null || child.signalCode !== null;
  }

  async exit(): Promise<void> {
    if (!this.ended && this.daemon) await once(this.daemon.child, "exit");
  }

  async kill(): Promise<void> {
    if (!this.ended) this.daemon?.child.kill("SIGKILL");
    await this.exit();
  }
}

/** Each kind of change, some of them on the same secret. */
async function change(witness: Witness, round: number): Promise<void> {
  const name = `s${round % 5}`;
  await witness.put(name);
  await witness.attach(name);
  await witness.put("kept");
  await witness.patch(name);
  await witness.read();
  await witness.rotateKeys();
  await witness.put(name);
  await witness.detach(name);
  await witness.remove(name);
  await witness.rewrap();
  await witness.attach("kept");
  await witness.patch("kept");
  await witness.put(name);
}

/** A failed sync of the store or of the trail. The keyring is written as a new file each time, so it may be tried again. */
function isFatal(hit: string): boolean {
  return /^(?:\[pid +[0-9]+\] )?f(?:data)?sync\([0-9]+<[^>]*\/(?:store\.db[^>]*|audit\.jsonl)>/.test(hit);
}

beforeAll(bundle);

describe("a daemon", () => {
  const label = SWEEP === undefined ? "a sample" : "all";
  test(
    `keeps what it answered whichever system call fails or is its last (${label} of ${every.length})`,
    { timeout: 30_000 + cases.length * 15_000 },
    async ({ expect }) => {
      const trial = new Trial();
      onTestFinished(() => trial.made[Symbol.asyncDispose]());
      const spent = new Set<string>();
      let hits = 0;
      for (const [round, { call, fault, occurrence }] of cases.entries()) {
        if (spent.has(`${call} ${fault}`)) continue;
        const what = `${call}:${fault}:when=${occurrence}`;
        const witness = await trial.start();
        expect(await witness.compare(), `before ${what}`).toEqual([]);
        await witness.begin();
        const injected: Injection = await injection(trial.daemon?.pid ?? 0, what);
        await change(witness, round);
        const hit = injected.hits();
        if (hit.length > 0) hits++;
        else if (SWEEP !== undefined) spent.add(`${call} ${fault}`);
        if (hit.some(isFatal)) await trial.exit();
        await injected.release();
        await trial.kill();
        expect(await witness.unaudited(), what).toEqual([]);
        if (SWEEP !== undefined && occurrence % 10 === 0) console.log(`${what}: ${hit.length} hits`);
      }
      const last = await trial.start();
      expect(await last.compare(), "after the last").toEqual([]);
      await trial.kill();
      console.log(`${hits} faults hit a call`);
      expect(hits).toBeGreaterThan(0);
    },
  );
});
