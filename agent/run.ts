// `hatchway-agent run`: one loop. It asks the host, which answers when something changes or after a while; installs; asks
// again. Whatever goes wrong leaves the last good set in force and is tried again, later each time.
import { isFault, reason, type AgentError, type AgentFault } from "./error.ts";
import { poll } from "./stream.ts";
import { removeLeftovers } from "./install.ts";
import { Notifier } from "./notify.ts";
import type { Origin } from "./origin.ts";
import { summary } from "./receipt.ts";
import type { Root } from "./root.ts";
import { formatSource } from "./source.ts";
import { readStatus, writeStatus, type Status } from "./status.ts";
import { asFault, Synchroniser, type InForce } from "./sync.ts";
import { ASKED_TO_STOP, ASKED_TO_SYNC, type Sys } from "./sys.ts";

/** How long the host may hold an answer back. */
const WAIT_SECONDS = 50;
/**
 * The pause after a first failure and the longest one, in ms; each is twice the one before. A host that is gone is back
 * soon; a full tmpfs is not, and each attempt on a foreign claim is an alarm at the host.
 */
const PAUSES: Record<AgentFault, readonly [first: number, longest: number]> = {
  "host-gone": [100, 5_000],
  "host-answer": [100, 30_000],
  "claim-held": [60_000, 60_000],
  install: [1_000, 60_000],
  machine: [100, 5_000],
  interrupted: [0, 0],
  usage: [0, 0],
};
/** After these the host has answered all the same. */
const ANSWERED: ReadonlySet<AgentFault> = new Set<AgentFault>(["host-answer", "claim-held", "install"]);

/** Runs until SIGTERM. The caller holds the lock and catches signals already. */
export function run(sys: Sys, root: Root, host: Origin, log: (line: string) => void): void {
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
  /** The last pause after a failure, ms. */
  #pause = 0;

  constructor(sys: Sys, root: Root, host: Origin, log: (line: string) => void) {
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
      if (fault.fault !== "interrupted") this.#failed(fault);
    }
    return true;
  }

  #begin(): void {
    this.#asked = true;
    this.#pause = 0;
    this.#update({ begun: this.#status.begun + 1 });
  }

  #succeeded({ revision, secrets, refused, fresh }: InForce): void {
    const now = new Date().toISOString();
    const recovered = this.#status.problem !== "";
    this.#pause = 0;
    this.#update({
      revision,
      secrets,
      reachable: true,
      contact: now,
      problem: "",
      ...(fresh && { refused, applied: now }),
      ...this.#answered(),
    });
    if (fresh || recovered) {
      const line = summary(secrets, revision);
      this.#log(fresh ? line : `the host is back; ${line}`);
      this.#notifier.status(line);
    }
    if (fresh) for (const refusal of refused) this.#log(`refused "${refusal.name}": ${refusal.reason}`);
    this.#becomeReady();
  }

  #failed({ message: problem, fault }: AgentError): void {
    if (problem !== this.#status.problem) {
      this.#log(problem);
      this.#notifier.status(problem);
    }
    this.#update({ problem, reachable: ANSWERED.has(fault), ...this.#answered() });
    // The last good set serves whoever waits for this agent.
    if (this.#status.revision !== "") this.#becomeReady();
    const [first, longest] = PAUSES[fault];
    this.#pause = Math.min(Math.max(this.#pause * 2, first), longest);
    this.#rest(this.#pause);
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
