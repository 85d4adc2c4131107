// System calls of a daemon that fail, or are its last, while a client changes things: what was answered is there after
// the next start, with its line in the audit trail, and of what was not there is the old or the new.
import { once } from "node:events";
import { join } from "node:path";
import { beforeAll, describe, onTestFinished, test } from "vitest";
import { DaemonProcess, type Serving } from "#test/kit/daemon-process";
import { faultSweep } from "#test/kit/fault-cases";
import { bundle } from "#test/kit/session-daemon";
import { injection, type Injection } from "#test/kit/strace";
import { Witness } from "#test/kit/witness";

const sweep = faultSweep(14, "faults");

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

/** Each kind of change, some of them on the same secret. What is wrong with the backup between them. */
async function change(witness: Witness, round: number): Promise<string[]> {
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
  const wrong = await witness.backUp();
  await witness.attach("kept");
  await witness.patch("kept");
  await witness.put(name);
  return wrong;
}

/** A failed sync of the store or of the trail. The keyring is written as a new file each time, so it may be tried again. */
function isFatal(hit: string): boolean {
  return /^(?:\[pid +[0-9]+\] )?f(?:data)?sync\([0-9]+<[^>]*\/(?:store\.db[^>]*|audit\.jsonl)>/.test(hit);
}

beforeAll(bundle);

describe("a daemon", () => {
  test(
    `keeps what it answered whichever system call fails or is its last (${sweep.label})`,
    { timeout: 30_000 + sweep.cases.length * 15_000 },
    async ({ expect }) => {
      const trial = new Trial();
      onTestFinished(() => trial.made[Symbol.asyncDispose]());
      let hits = 0;
      for (const [round, one] of sweep.cases.entries()) {
        if (sweep.isSpent(one)) continue;
        const { what } = one;
        const witness = await trial.start();
        expect(await witness.compare(), `before ${what}`).toEqual([]);
        await witness.begin();
        const injected: Injection = await injection(trial.daemon?.pid ?? 0, what);
        const wrong = await change(witness, round);
        const hit = injected.hits();
        if (hit.length > 0) hits++;
        sweep.tried(one, hit.length);
        if (hit.some(isFatal)) await trial.exit();
        await injected.release();
        await trial.kill();
        expect([...wrong, ...(await witness.unaudited())], what).toEqual([]);
      }
      const last = await trial.start();
      expect(await last.compare(), "after the last").toEqual([]);
      await trial.kill();
      console.log(`${hits} faults hit a call`);
      expect(hits).toBeGreaterThan(0);
      expect(last.backups).toBeGreaterThan(0);
    },
  );
});
