import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Accept } from "#channel";
import type { Caller } from "#caller";
import type { Delivery } from "#delivery";
import { HatchwayError } from "#error";
import type { Machines, VmView, Wait } from "#machines";
import type { Vault, VmRequest } from "#vault";
import { isSynced, type Convergence, type Vm } from "#vm";
import type { Machine } from "#vmm";
import { Endpoint } from "#daemon/endpoint";
import { Processes } from "#daemon/processes";

export interface MachinesParts {
  vault: Vault;
  delivery: Delivery;
  /** The daemon's folder on tmpfs. */
  runtime: string;
  /** The daemon's own work, as the audit names it. */
  self: Caller;
  accept: Accept;
  /** Ends what a VM's guest has open. */
  disconnect: (vmId: string) => void;
  log: { write(line: string): void; report(error: unknown): void };
}

/** Lines of the console that a failed start shows. */
const LAST_LINES = 12;
/** Milliseconds for a machine to end that is to be removed. */
const REMOVE_GRACE = 0;

/** The VMs of this host: for each an endpoint, and a process if Hatchway started it. */
export class HostMachines implements Machines {
  readonly #parts: MachinesParts;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #processes: Processes;

  constructor(parts: MachinesParts) {
    this.#parts = parts;
    const { vault, self, log, disconnect } = parts;
    this.#processes = new Processes(parts.runtime, {
      async booted(vm) {
        disconnect(vm.id);
        await vault.newGeneration(self, vm.id);
      },
      ended(vm, exit) {
        disconnect(vm.id);
        log.write(`vm "${vm.name}" ended (${exit.by}): ${exit.detail}`);
      },
      report: (error) => log.report(error),
    });
  }

  /** Binds the sockets of every VM that is known, and finds those that run. */
  async open(): Promise<void> {
    for (const vm of await this.#parts.vault.vms(this.#parts.self)) {
      try {
        await this.#open(vm);
        await this.#processes.find(vm, this.#directory(vm));
      } catch (error) {
        // One VM whose sockets cannot be bound must not keep the others from theirs.
        this.#parts.log.report(error);
      }
    }
  }

  async close(): Promise<void> {
    this.#processes.detach();
    for (const endpoint of this.#endpoints.values()) await endpoint.close();
    this.#endpoints.clear();
  }

  async create(caller: Caller, request: VmRequest, start: boolean, wait?: Wait): Promise<VmView> {
    if (start) this.#checkRunner(request);
    const vm = await this.#parts.vault.createVm(caller, request);
    try {
      await this.#open(vm);
      if (start) await this.#start(caller, vm, wait);
      return await this.#view(caller, vm);
    } catch (error) {
      const words = await this.#lastWords(vm);
      await this.#discard(vm);
      await this.#parts.vault.removeVm(this.#parts.self, vm.name);
      throw withHint(error, words);
    }
  }

  async remove(caller: Caller, name: string): Promise<void> {
    const vm = await this.#parts.vault.vm(caller, name);
    // Its grants go first, so that nothing is disclosed to what is about to end.
    await this.#parts.vault.removeVm(caller, name);
    await this.#discard(vm);
  }

  async start(caller: Caller, name: string, wait?: Wait): Promise<VmView> {
    const vm = await this.#parts.vault.admit(caller, "vm.start", name);
    await this.#start(caller, vm, wait);
    return this.#view(caller, vm);
  }

  async stop(caller: Caller, name: string, grace: number): Promise<VmView> {
    const vm = await this.#parts.vault.admit(caller, "vm.stop", name);
    const machine = this.#processes.machine(vm.id);
    if (!machine) throw new HatchwayError("conflict", `vm "${name}" is not running`);
    await machine.stop(grace);
    return this.#view(caller, vm);
  }

  async view(caller: Caller, name: string, wait?: Wait): Promise<VmView> {
    const vm = await this.#parts.vault.vm(caller, name);
    if (wait) await this.#wait(caller, vm, wait);
    return this.#view(caller, vm);
  }

  async views(caller: Caller): Promise<VmView[]> {
    const vms = await this.#parts.vault.vms(caller);
    return Promise.all(vms.map((vm) => this.#view(caller, vm)));
  }

  async console(caller: Caller, name: string, lines: number): Promise<string> {
    const vm = await this.#parts.vault.vm(caller, name);
    const tail = await this.#endpoint(vm).console.tail(lines);
    return tail.map((line) => `${line}\n`).join("");
  }

  async followConsole(
    caller: Caller,
    name: string,
    lines: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<string>> {
    const vm = await this.#parts.vault.vm(caller, name);
    return this.#endpoint(vm).console.follow(lines, signal);
  }

  async #open(vm: Vm): Promise<void> {
    const { vault, accept, log } = this.#parts;
    const endpoint = await Endpoint.open(this.#directory(vm), vm, {
      vault,
      accept,
      machines: this,
      report: (line) => log.write(line),
    });
    this.#endpoints.set(vm.id, endpoint);
  }

  async #start(caller: Caller, vm: Vm, wait: Wait | undefined): Promise<void> {
    const { channels, directory } = this.#endpoint(vm);
    const serial = channels.find(({ kind }) => kind === "virtio-serial")?.path ?? join(directory, "serial.sock");
    const machine = await this.#processes.launch(vm, directory, { serial, console: join(directory, "console.sock") });
    if (wait) await this.#wait(caller, vm, wait, machine);
  }

  /** Waits for the guest's word, or for the end of its machine, whichever comes first. */
  async #wait(caller: Caller, vm: Vm, wait: Wait, machine = this.#processes.machine(vm.id)): Promise<void> {
    const ended = new AbortController();
    const exit = machine?.exited.then((how) => {
      ended.abort();
      throw new HatchwayError("unavailable", `vm "${vm.name}" ended before it had its secrets: ${how.detail}`);
    });
    const enough = wait.until === "agent" ? hasAnswered : isSynced;
    const converged = this.#parts.delivery.converged(caller, vm.id, wait.timeout, ended.signal, enough);
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
    const endpoint = this.#endpoints.get(vm.id);
    const directory = this.#directory(vm);
    return {
      vm,
      machine: this.#processes.state(vm, directory),
      secrets: (await vault.grants(caller, vm.name)).map(({ secret }) => secret.name),
      convergence: await vault.convergence(caller, vm.id),
      channels: endpoint?.channels ?? [],
      controlSocket: join(directory, "control.sock"),
    };
  }

  /** Ends the process and takes the folder away; a VM that is not quite there is no fault. */
  async #discard(vm: Vm): Promise<void> {
    const machine: Machine | undefined = this.#processes.machine(vm.id);
    if (machine) await machine.stop(REMOVE_GRACE);
    this.#processes.forget(vm.id);
    this.#parts.disconnect(vm.id);
    await this.#endpoints.get(vm.id)?.close();
    this.#endpoints.delete(vm.id);
    await rm(this.#directory(vm), { recursive: true, force: true });
  }

  async #lastWords(vm: Vm): Promise<string[]> {
    return (await this.#endpoints.get(vm.id)?.console.tail(LAST_LINES)) ?? [];
  }

  #endpoint(vm: Vm): Endpoint {
    const endpoint = this.#endpoints.get(vm.id);
    if (endpoint) return endpoint;
    throw new HatchwayError("unavailable", `the sockets of vm "${vm.name}" could not be bound`, {
      hint: "see why with: hatchway logs",
    });
  }

  #directory(vm: Vm): string {
    return join(this.#parts.runtime, "vm", vm.name);
  }

  /** A VMM that is broken out of must not be root's, where there can be users for them. */
  #checkRunner({ name, runner }: VmRequest): void {
    if (runner.uid !== 0 || this.#parts.self.kind !== "embedded") return;
    if (!this.#parts.self.purpose.startsWith("system")) return;
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
