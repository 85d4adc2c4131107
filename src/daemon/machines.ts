import type { Duplex } from "node:stream";
import type { Caller } from "#caller";
import type { Delivery } from "#delivery";
import { HatchwayError } from "#error";
import { ownUid } from "#host/files";
import type { Machines, VmView, Wait } from "#machines";
import { Mutex } from "#mutex";
import type { VmRequest } from "#vault";
import { isSynced, type Convergence, type Vm } from "#vm";
import type { Machine } from "#vmm";
import { type HostedParts, HostedVms } from "#daemon/hosted-vms";

export interface MachinesParts extends HostedParts {
  delivery: Delivery;
  mode: "system" | "session";
}

/** What may be asked of the VMs of this host: each is admitted first, and done to one VM by one caller at a time. */
export class HostMachines implements Machines {
  readonly #parts: MachinesParts;
  readonly #hosted: HostedVms;
  /** By a VM's name: it is made, started, stopped and removed by one at a time. */
  readonly #lifecycle = new Mutex();
  #closed = false;

  constructor(parts: MachinesParts) {
    this.#parts = parts;
    this.#hosted = new HostedVms(parts, this);
  }

  /**
   * Binds the sockets of every VM that is known, and then finds those that run, all at once: one may not answer. Called
   * again whenever the keys were opened; what has its sockets keeps them.
   */
  async open(): Promise<void> {
    await this.#hosted.openAll(await this.#parts.vault.vms(this.#parts.self));
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#hosted.close();
  }

  get servesNetwork(): boolean {
    return this.#parts.identities.areServed;
  }

  /**
   * Serves the stream of a guest that has come over a network with a certificate of this VM: its key is root's alone in
   * the guest. False for a VM that there is not.
   */
  admit(vmId: string, stream: Duplex): boolean {
    return this.#hosted.admit(vmId, stream);
  }

  async create(caller: Caller, request: VmRequest, start: boolean, wait?: Wait): Promise<VmView> {
    if (start) this.#checkRunner(request);
    if (request.adopted) this.#checkReachable(request);
    const { vm, machine } = await this.#lifecycle.run(request.name, () => this.#make(caller, request, start));
    try {
      if (machine && wait) await this.#wait(caller, vm, wait, machine);
      return await this.#view(caller, vm);
    } catch (error) {
      // A machine goes on when the daemon ends; whoever waited for its guest is told that nobody knows.
      if (this.#closed) throw error;
      throw await this.#lifecycle.run(vm.name, () => this.#undo(vm, error));
    }
  }

  async remove(caller: Caller, name: string): Promise<void> {
    await this.#lifecycle.run(name, async () => {
      const vm = await this.#parts.vault.vm(caller, name);
      // Its grants go first, so that nothing is disclosed to what is about to end.
      await this.#parts.vault.removeVm(caller, name);
      await this.#hosted.discard(vm);
    });
  }

  async start(caller: Caller, name: string, wait?: Wait): Promise<VmView> {
    const { vm, machine } = await this.#lifecycle.run(name, async () => {
      const admitted = await this.#parts.vault.admit(caller, "vm.start", name);
      this.#checkRunner(admitted);
      return { vm: admitted, machine: await this.#hosted.launch(admitted) };
    });
    if (wait) await this.#wait(caller, vm, wait, machine);
    return this.#view(caller, vm);
  }

  async stop(caller: Caller, name: string, grace: number): Promise<VmView> {
    return this.#lifecycle.run(name, async () => {
      const vm = await this.#parts.vault.admit(caller, "vm.stop", name);
      const machine = this.#hosted.machine(vm);
      if (!vm.launch) {
        throw new HatchwayError("invalid", `vm "${name}" is not Hatchway's to stop`, {
          hint: "stop it with the tool that runs it",
        });
      }
      if (!machine) throw new HatchwayError("conflict", `vm "${name}" is not running`);
      await machine.stop(grace);
      return this.#view(caller, vm);
    });
  }

  async observe(caller: Caller, name: string, pid: number): Promise<VmView> {
    return this.#lifecycle.run(name, async () => {
      const vm = await this.#parts.vault.admit(caller, "vm.start", name);
      if (vm.launch) throw new HatchwayError("invalid", `vm "${name}" is Hatchway's own to start`);
      await this.#hosted.observe(vm, pid);
      return this.#view(caller, vm);
    });
  }

  async view(caller: Caller, name: string, wait?: Wait): Promise<VmView> {
    const vm = await this.#parts.vault.vm(caller, name);
    if (wait) await this.#wait(caller, vm, wait);
    return this.#view(caller, vm);
  }

  async views(caller: Caller): Promise<VmView[]> {
    const vms = await this.#parts.vault.vms(caller);
    const views = await Promise.all(
      vms.map((vm) =>
        this.#view(caller, vm).catch((error: unknown) => {
          // It was removed since the list was made.
          if (error instanceof HatchwayError && error.code === "not-found") return undefined;
          throw error;
        }),
      ),
    );
    return views.filter((view) => view !== undefined);
  }

  async console(caller: Caller, name: string, lines: number): Promise<string> {
    const vm = await this.#parts.vault.vm(caller, name);
    const tail = await this.#hosted.endpoint(vm).console.tail(lines);
    return tail.map((line) => `${line}\n`).join("");
  }

  async followConsole(
    caller: Caller,
    name: string,
    lines: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<string>> {
    const vm = await this.#parts.vault.vm(caller, name);
    return this.#hosted.endpoint(vm).console.follow(lines, signal);
  }

  async #make(caller: Caller, request: VmRequest, start: boolean): Promise<{ vm: Vm; machine: Machine | undefined }> {
    const vm = await this.#parts.vault.createVm(caller, request);
    try {
      await this.#hosted.open(vm, true);
      if (!vm.launch) await this.#hosted.follow(vm, request.pid);
      return { vm, machine: start ? await this.#hosted.launch(vm) : undefined };
    } catch (error) {
      throw await this.#undo(vm, error);
    }
  }

  /** Takes away what was made of `vm`, unless somebody did so meanwhile; gives the error with its last words. */
  async #undo(vm: Vm, error: unknown): Promise<unknown> {
    const { vault, self } = this.#parts;
    const known = await vault.vms(self);
    if (!known.some(({ id }) => id === vm.id)) return error;
    const words = await this.#hosted.lastWords(vm);
    await vault.removeVm(self, vm.name);
    await this.#hosted.discard(vm);
    return withHint(error, words);
  }

  /** Waits for the guest's word, or for the end of its machine, whichever comes first. */
  async #wait(caller: Caller, vm: Vm, wait: Wait, machine = this.#hosted.machine(vm)): Promise<void> {
    const ended = new AbortController();
    const exit = machine?.exited.then((how) => {
      ended.abort();
      throw new HatchwayError("unavailable", `vm "${vm.name}" ended before it had its secrets: ${how.detail}`);
    });
    const enough = wait.until === "agent" ? hasAnswered : isSynced;
    const signal = wait.signal ? AbortSignal.any([ended.signal, wait.signal]) : ended.signal;
    const converged = this.#parts.delivery.converged(caller, vm.id, wait.timeout, signal, enough);
    try {
      await Promise.race(exit ? [exit, converged] : [converged]);
    } catch (error) {
      if (!(error instanceof HatchwayError) || error.code !== "timeout") throw error;
      const what = wait.until === "agent" ? "the agent did not answer" : "the guest did not have all of its secrets";
      throw new HatchwayError("timeout", `vm "${vm.name}": ${what} within ${wait.timeout / 1000} s`, { cause: error });
    } finally {
      // Whichever lost the race has nobody left to tell.
      for (const loser of [exit, converged]) loser?.catch(() => undefined);
    }
  }

  async #view(caller: Caller, vm: Vm): Promise<VmView> {
    const { vault } = this.#parts;
    return {
      vm,
      secrets: (await vault.grants(caller, vm.name)).map(({ secret }) => secret.name),
      convergence: await vault.convergence(caller, vm.id),
      ...this.#hosted.seen(vm),
    };
  }

  /** Only root can hand sockets to another user. */
  #checkReachable({ name, runner }: Pick<Vm, "name" | "runner">): void {
    if (ownUid() === 0 || runner.uid === ownUid()) return;
    throw new HatchwayError("forbidden", `vm "${name}" is run by uid ${runner.uid}, whom this daemon cannot serve`, {
      hint: "adopt it by the system's daemon: hatchway serve --system",
    });
  }

  /** A VMM that is broken out of must not be root's, where there can be users for them. */
  #checkRunner({ name, runner }: Pick<Vm, "name" | "runner">): void {
    if (this.#parts.mode === "session") {
      if (runner.uid === ownUid()) return;
      throw new HatchwayError(
        "invalid",
        `vm "${name}" would run as uid ${runner.uid}, and a session is one user's alone`,
        {
          hint: "to run it as another user, use the system daemon: hatchway serve --system",
        },
      );
    }
    if (runner.uid !== 0) return;
    throw new HatchwayError("invalid", `vm "${name}" would run as root`, {
      hint: `useradd --system ${name}-runner, then --runner ${name}-runner`,
    });
  }
}

function hasAnswered({ applied }: Convergence): boolean {
  return applied?.outcome === "applied";
}

function withHint(error: unknown, words: readonly string[]): unknown {
  if (!(error instanceof HatchwayError) || words.length === 0) return error;
  const shown = `the last lines of its console:\n${words.map((line) => `  ${line}`).join("\n")}`;
  return new HatchwayError(error.code, error.message, {
    hint: error.hint === undefined ? shown : `${error.hint}\n${shown}`,
    cause: error,
  });
}
