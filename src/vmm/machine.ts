// A QEMU process that is watched: how it is started, found again, told things, and how its end is noticed.
//
// launch: spawn as the runner, paused → connect to QMP → `cont`. Nobody can miss an event, since the guest's first
// instruction comes after we listen. attach: identity still alive → connect to QMP → watch on.
// The end is noticed by the exit of our child, or, for a process that is not our child, by its QMP connection's end.

import { EventEmitter } from "node:events";
import { accessSync, constants } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { HatchwayError } from "#error";
import { removeTree } from "#host/remove-tree";
import type { Accelerator, Machine, MachineEvents, MachineExit, MachineSpec, ProcessIdentity, Vmm } from "#vmm";
import { inheritedContents, MemoryFiles } from "./inherited.ts";
import { qmpSocket, shellSocket } from "./paths.ts";
import { identify, isAlive, signalProcess } from "./process.ts";
import { qemuArguments, qemuProgram } from "./qemu.ts";
import { QmpClient, type QmpEvent } from "./qmp.ts";
import { runnerCanRead, spawnQemu, type Started } from "./spawn.ts";

const startTimeoutMs = 10_000;
const powerButtonMs = 500;
const quitMs = 2_000;

export const qemu: Vmm = {
  arguments(spec: MachineSpec, accelerator: Accelerator): string[] {
    return [qemuProgram, ...qemuArguments(spec, accelerator)];
  },

  async launch(spec: MachineSpec, accelerator: Accelerator): Promise<Machine> {
    let started: Started;
    try {
      const args = qemuArguments(spec, accelerator);
      await checkFiles(spec);
      for (const stale of [qmpSocket(spec.directory), shellSocket(spec.directory)]) await removeTree(stale);
      started = spawnWithFiles(args, spec);
    } finally {
      for (const content of inheritedContents(spec)) content.fill(0);
    }
    const { qmp, identity } = await waitForQmp(started, spec.directory);
    const machine = new QemuMachine(spec, identity, qmp, started);
    try {
      await qmp.execute("cont");
    } catch (error) {
      const { detail } = await machine.kill();
      throw new HatchwayError("unavailable", `QEMU did not start the guest: ${detail}`, { cause: error });
    }
    return machine;
  },

  async attach(spec: Pick<MachineSpec, "name" | "directory">, identity: ProcessIdentity): Promise<Machine | undefined> {
    const deadline = performance.now() + startTimeoutMs;
    const qmp = await connectWhileAlive(qmpSocket(spec.directory), identity, () => performance.now() > deadline);
    if (qmp === undefined) {
      if (!isAlive(identity)) return undefined;
      throw new HatchwayError("timeout", `QEMU of "${spec.name}" did not answer within ${startTimeoutMs} ms`);
    }
    const machine = new QemuMachine(spec, identity, qmp, undefined);
    // A daemon that was killed in the middle of a launch left a machine that still waits for this.
    await qmp.execute("cont");
    return machine;
  },
};

/** Once QEMU is spawned it has its own descriptors of what it inherits, and we need ours no more. */
function spawnWithFiles(args: string[], spec: MachineSpec): Started {
  using files = new MemoryFiles(inheritedContents(spec));
  return spawnQemu(args, spec.runner, files.descriptors);
}

class QemuMachine extends EventEmitter<MachineEvents> implements Machine {
  readonly name: string;
  readonly process: ProcessIdentity;
  readonly exited: Promise<MachineExit>;
  readonly #qmpPath: string;
  readonly #started: Started | undefined;
  #qmp: QmpClient;
  #shutdown: QmpEvent | undefined;
  #stopping = false;
  #ended = false;
  #detached = false;
  #settle: (exit: MachineExit) => void = () => undefined;

  constructor(
    spec: Pick<MachineSpec, "name" | "directory">,
    identity: ProcessIdentity,
    qmp: QmpClient,
    started: Started | undefined,
  ) {
    super();
    this.name = spec.name;
    this.process = identity;
    this.#qmpPath = qmpSocket(spec.directory);
    this.#started = started;
    this.exited = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#qmp = this.#watch(qmp);
    // `close` comes after the last byte of the process's standard error.
    started?.child.once("close", (code, signal) => this.#end(code, signal));
  }

  async stop(graceMs: number): Promise<MachineExit> {
    this.#stopping = true;
    const deadline = performance.now() + graceMs;
    // The button does nothing until the guest has a driver for it, so it is pressed again.
    for (let left = graceMs; left > 0 && !this.#ended; left = deadline - performance.now()) {
      await this.#tell("system_powerdown");
      await this.#endWithin(Math.min(powerButtonMs, left));
    }
    if (!this.#ended) {
      await this.#tell("quit");
      await this.#endWithin(quitMs);
    }
    return this.kill();
  }

  async kill(): Promise<MachineExit> {
    this.#stopping = true;
    if (!this.#ended && !signalProcess(this.process, "SIGKILL")) this.#end(null, null);
    return this.exited;
  }

  detach(): void {
    this.#detached = true;
    this.#qmp.close();
    this.removeAllListeners();
  }

  #watch(qmp: QmpClient): QmpClient {
    qmp.on("event", (event) => {
      if (event.name === "SHUTDOWN") this.#shutdown = event;
      if (event.name === "RESET" && event.members["guest"] === true) this.emit("reset");
    });
    qmp.once("close", () => void this.#lost());
    return qmp;
  }

  /** QMP's connection ended: usually QEMU did, and is gone some milliseconds later. */
  async #lost(): Promise<void> {
    const qmp = await connectWhileAlive(this.#qmpPath, this.process, () => this.#ended || this.#detached);
    if (qmp === undefined) {
      // Our own child's end comes with its status.
      if (this.#started === undefined && !this.#detached) this.#end(null, null);
    } else if (this.#ended || this.#detached) {
      qmp.close();
    } else {
      this.#qmp = this.#watch(qmp);
    }
  }

  /** A command whose failure means no more than that the guest or QEMU does not answer: the caller goes on to harder means. */
  async #tell(command: string): Promise<void> {
    const answer = this.#qmp.execute(command, undefined, powerButtonMs);
    await Promise.race([answer.then(String, String), this.exited]);
  }

  async #endWithin(milliseconds: number): Promise<void> {
    const timeout = new AbortController();
    const timer = sleep(milliseconds, undefined, { signal: timeout.signal }).catch(ignoreAbort);
    await Promise.race([this.exited, timer]);
    timeout.abort();
  }

  #end(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#qmp.close();
    const exit = this.#describe(code, signal);
    this.#settle(exit);
    this.emit("exit", exit);
  }

  #describe(code: number | null, signal: NodeJS.Signals | null): MachineExit {
    const reason = this.#shutdown?.members["reason"];
    const known = typeof reason === "string" && /^[a-z-]{1,40}$/.test(reason) ? reason : undefined;
    const status = signal ?? (code === null ? "its process is gone" : `exit status ${code}`);
    const detail = known ?? status;
    if (this.#stopping) return { by: "host", detail };
    if (this.#shutdown?.members["guest"] === true) return { by: "guest", detail };
    const words = this.#started?.lastWords() ?? "";
    return { by: "died", detail: words === "" ? detail : `${detail}: ${words}` };
  }
}

/** QMP of a process that has just been spawned, and the process's identity. On failure the process is gone. */
async function waitForQmp(started: Started, directory: string): Promise<{ qmp: QmpClient; identity: ProcessIdentity }> {
  const { child } = started;
  const closed = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
  });
  // The shell, setpriv and QEMU are one process, and exec changes neither its id nor its start time.
  const identity = child.pid === undefined ? undefined : identify(child.pid);
  if (identity === undefined) {
    await closed;
    throw new HatchwayError("unavailable", `QEMU did not start: ${started.lastWords()}`);
  }
  const deadline = performance.now() + startTimeoutMs;
  const qmp = await connectWhileAlive(qmpSocket(directory), identity, () => performance.now() > deadline);
  if (qmp !== undefined) return { qmp, identity };
  const late = isAlive(identity);
  signalProcess(identity, "SIGKILL");
  await closed;
  if (late) throw new HatchwayError("timeout", `QEMU did not answer within ${startTimeoutMs} ms`);
  throw new HatchwayError("unavailable", `QEMU did not start: ${started.lastWords()}`);
}

/** Tries to connect until it works, the process is gone, or `given up`; undefined then. */
async function connectWhileAlive(
  path: string,
  identity: ProcessIdentity,
  givenUp: () => boolean = () => false,
): Promise<QmpClient | undefined> {
  for (let pause = 5; isAlive(identity) && !givenUp(); pause = Math.min(pause * 1.5, 1_000)) {
    try {
      return await QmpClient.connect(path, identity.pid);
    } catch (error) {
      // Not yet listening, or listening no more; a process that lives on is asked again, less and less often.
      if (!(error instanceof HatchwayError)) throw error;
    }
    await sleep(pause);
  }
  return undefined;
}

/** QEMU's own words for a file that its user cannot read name neither the file nor the user. */
async function checkFiles(spec: MachineSpec): Promise<void> {
  const { runner } = spec;
  const files = { kernel: spec.kernel, initrd: spec.initrd, disk: spec.disk?.path };
  for (const [what, path] of Object.entries(files)) {
    if (path === undefined) continue;
    try {
      accessSync(path, constants.R_OK);
    } catch (error) {
      throw new HatchwayError("not-found", `${what} "${path}" does not exist or cannot be read`, { cause: error });
    }
    if (runner.uid === process.getuid?.() || (await runnerCanRead(runner, path))) continue;
    throw new HatchwayError(
      "forbidden",
      `${what} "${path}" cannot be read by the runner ${runner.name ?? runner.uid}`,
      {
        hint: "let that user read the file, and pass through the folders above it",
      },
    );
  }
}

function ignoreAbort(error: unknown): void {
  if ((error as Error).name !== "AbortError") throw error;
}
