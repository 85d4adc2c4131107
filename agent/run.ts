// `hatchway-agent run`: one loop. It asks the host, which answers when something changes or after a while; installs; asks
// again. Whatever goes wrong leaves the last good set in force and is tried again, later each time.
import { reason, isFault, type AgentFault } from "./error.ts";
import { poll } from "./connection.ts";
import type { Host } from "./host.ts";
import { removeLeftovers } from "./install.ts";
import { Notifier } from "./notify.ts";
import type { Root } from "./root.ts";
import { formatSource } from "./source.ts";
import { readStatus, writeStatus, type Status } from "./status.ts";
import { asFault, Synchroniser, type InForce } from "./sync.ts";
import { ASKED_TO_STOP, ASKED_TO_SYNC, type Sys } from "./sys.ts";

/** How long the host may hold an answer back. */
const WAIT_SECONDS = 50;
const FIRST_PAUSE_MS = 100;
/** The longest pause, by what is wrong: a host that is gone is back soon; a full tmpfs or a foreign claim is not. */
const LONGEST_PAUSE_MS: Record<AgentFault, number> = {
  "host-gone": 5_000,
  "host-answer": 30_000,
  "claim-held": 60_000,
  install: 60_000,
  machine: 5_000,
  interrupted: 0,
  usage: 0,
};

/** Runs until SIGTERM. The caller holds the lock and catches signals already. */
export function run(sys: Sys, root: Root, host: Host, log: (line: string) => void): void {
  removeLeftovers(sys, root);
  const loop = new Loop(sys, root, host, log);
  while (loop.turn());
}

class Loop {
  readonly #sys: Sys;
  readonly #root: Root;
  readonly #log: (line: string) => void;
  readonly #synchroniser: Synchroniser;
  readonly #notifier: Notifier;
  #status: Status;
  /** Whether a person or the start asks: the answer shall come at once. */
  #asked = true;
  #ready = false;
  #pause = FIRST_PAUSE_MS;

  constructor(sys: Sys, root: Root, host: Host, log: (line: string) => void) {
    this.#sys = sys;
    this.#root = root;
    this.#log = log;
    this.#synchroniser = new Synchroniser(sys, root, host, log);
    this.#notifier = new Notifier(sys, log);
    this.#status = { ...initialStatus(sys, root), source: formatSource(host.source) };
    this.#begin();
  }

  /** One question to the host; false when it is time to stop. */
  turn(): boolean {
    const signals = this.#sys.takeSignals();
    if ((signals & ASKED_TO_STOP) !== 0) {
      this.#notifier.stopping();
      return false;
    }
    if ((signals & ASKED_TO_SYNC) !== 0) this.#begin();
    const asked = this.#asked;
    try {
      const inForce = this.#synchroniser.synchronise({ wait: asked ? 0 : WAIT_SECONDS, retryRefused: asked });
      this.#succeeded(inForce);
    } catch (thrown) {
      const fault = asFault(thrown);
      if (fault.fault !== "interrupted") this.#failed(fault.message, LONGEST_PAUSE_MS[fault.fault]);
    }
    return true;
  }

  #begin(): void {
    this.#asked = true;
    this.#pause = FIRST_PAUSE_MS;
    this.#update({ begun: this.#status.begun + 1 });
  }

  #succeeded({ revision, secrets, refused, fresh }: InForce): void {
    const now = new Date().toISOString();
    const recovered = this.#status.problem !== "";
    this.#pause = FIRST_PAUSE_MS;
    this.#update({
      revision,
      secrets,
      reachable: true,
      contact: now,
      problem: "",
      ...(fresh && { refused, applied: now }),
      ...this.#answered(),
    });
    const summary = `${secrets} secrets, revision ${revision}`;
    if (fresh || recovered) {
      this.#log(fresh ? summary : `the host is back; ${summary}`);
      this.#notifier.status(summary);
    }
    if (fresh) for (const refusal of refused) this.#log(`refused "${refusal.name}": ${refusal.reason}`);
    this.#becomeReady();
  }

  #failed(problem: string, longest: number): void {
    if (problem !== this.#status.problem) {
      this.#log(problem);
      this.#notifier.status(problem);
    }
    this.#update({ problem, reachable: false, ...this.#answered() });
    // The last good set serves whoever waits for this agent.
    if (this.#status.revision !== "") this.#becomeReady();
    this.#rest(Math.min(this.#pause, longest));
    this.#pause = Math.min(this.#pause * 2, longest);
  }

  #answered(): Partial<Status> {
    if (!this.#asked) return {};
    this.#asked = false;
    return { done: this.#status.begun };
  }

  #becomeReady(): void {
    if (this.#ready) return;
    this.#ready = true;
    this.#notifier.ready();
  }

  /** Between half of the pause and all of it, so that many guests of one host do not come back together. */
  #rest(pauseMs: number): void {
    const random = new Uint8Array(1);
    this.#sys.getrandom(random);
    const end = this.#sys.monotonic() + pauseMs * (0.5 + (random[0] ?? 0) / 510);
    try {
      for (let left = pauseMs; left > 0; left = end - this.#sys.monotonic()) {
        poll(this.#sys, -1, 0, Math.ceil(left));
      }
    } catch (error) {
      if (!isFault(error, "interrupted")) throw error;
    }
  }

  #update(change: Partial<Status>): void {
    this.#status = { ...this.#status, ...change };
    writeStatus(this.#sys, this.#root, this.#status);
  }
}

/** What is known before the host was asked: what an earlier agent of this boot wrote, if it can be read. */
export function initialStatus(sys: Sys, root: Root): Status {
  const none: Status = {
    source: "",
    revision: "",
    secrets: 0,
    applied: "",
    reachable: false,
    contact: "",
    problem: "",
    refused: [],
    mount: root.memory,
    begun: 0,
    done: 0,
  };
  try {
    return { ...none, ...readStatus(sys, root), problem: "", mount: root.memory };
  } catch (error) {
    return { ...none, problem: reason(error) };
  }
}
