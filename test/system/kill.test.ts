// A daemon that is killed under load, again and again: no change that it acknowledged is lost, and its files are whole.
import { once } from "node:events";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, onTestFinished, test } from "vitest";
import { DaemonProcess } from "#test/kit/daemon-process";
import { bundle } from "#test/kit/session-daemon";
import { Witness } from "#test/kit/witness";

/** How often the daemon is killed. */
const ROUNDS = Number(process.env["HATCHWAY_KILL_ROUNDS"] ?? 10);
const CLIENTS = 8;

/** Changes secrets that are this client's alone, until the daemon is gone. */
async function load(witness: Witness, client: number, gone: AbortSignal): Promise<void> {
  for (let count = 0; !gone.aborted; count++) {
    const name = `c${client}.${count % 3}`;
    const acts = [
      () => witness.put(name),
      () => witness.attach(name),
      () => witness.patch(name),
      () => (client === 0 ? witness.rotateKeys() : witness.read()),
      () => witness.detach(name),
      () => (client === 0 ? witness.rewrap() : witness.remove(name)),
    ];
    await acts[(count * 5 + client) % acts.length]?.();
  }
}

beforeAll(bundle);

test(
  `a daemon that is killed under load ${ROUNDS} times loses nothing that it acknowledged`,
  { timeout: 30_000 + ROUNDS * 10_000 },
  async ({ expect }) => {
    const made = new DaemonProcess();
    onTestFinished(() => made[Symbol.asyncDispose]());
    let witness: Witness | undefined;
    let answers = 0;
    for (let round = 0; round <= ROUNDS; round++) {
      const { child } = await made.serve({ HATCHWAY_FROM_SOURCE: "" });
      witness ??= await Witness.of(join(made.runtime, "hatchway.sock"), join(made.state, "audit.jsonl"));
      const from = witness;
      expect(await from.compare(), `after kill ${round}`).toEqual([]);
      await from.begin();
      const gone = new AbortController();
      const clients = Array.from({ length: CLIENTS }, (_, client) => load(from, client, gone.signal));
      await sleep(50 + Math.random() * 400);
      const exit = once(child, "exit");
      child.kill("SIGKILL");
      await exit;
      gone.abort();
      await Promise.all(clients);
      answers += from.answers;
      expect(await from.unaudited(), `kill ${round}`).toEqual([]);
    }
    const database = new DatabaseSync(join(made.state, "store.db"), { readOnly: true });
    expect(database.prepare("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
    database.close();
    console.log(`${answers} answers in ${ROUNDS + 1} rounds`);
  },
);
