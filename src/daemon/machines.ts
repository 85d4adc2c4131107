import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { GuestIdentity, LocalIdentity } from "#channel";
import type { Caller } from "#caller";
import { removeFolder } from "#channel/folder";
import { adoptedVsock } from "#channel/adopted-vsock";
import { vsock } from "#channel/vsock";
import type { Delivery } from "#delivery";
import { HatchwayError } from "#error";
import { ownUid } from "#host/files";
import type { Machines, VmView, Wait } from "#machines";
import { Mutex } from "#mutex";
import type { Vault, VmRequest } from "#vault";
import { isSynced, type Convergence, type Vm } from "#vm";
import type { Machine, ProcessIdentity } from "#vmm";
import { Adopted } from "#daemon/adopted";
import type { Witness } from "#daemon/boots";
import { Endpoint } from "#daemon/endpoint";
import { composeBoot } from "#daemon/boot";
import type { GuestIdentities } from "#daemon/guest-identities";
import { ForeignBoots } from "#daemon/foreign-boots";
import { KernelVsock } from "#daemon/kernel-vsock";
import { Processes } from "#daemon/processes";
import { Shares } from "#daemon/shares";

export interface MachinesParts {
  vault: Vault;
  delivery: Delivery;
  mode: "system" | "session";
  /** The daemon's folder on tmpfs. */
  runtime: string;
  /** The daemon's own work, as the audit names it. */
  self: Caller;
  accept: (stream: Duplex, identity: GuestIdentity) => void;
  /** For VMs that come by TLS. */
  identities: GuestIdentities;
  /** The VM that callers on AF_VSOCK are taken for that are this host itself. */
  localVsock?: string;
  /** Ends what a VM's guest has open. */
  disconnect: (vmId: string) => void;
  log: { write(line: string): void; report(error: unknown): void };
}

/** Lines of the console that a failed start shows: one whole panic of Linux, its first line and registers included. */
const LAST_LINES = 60;

/** The VMs of this host: for each an endpoint, and a process if Hatchway started it. */
export class HostMachines implements Machines {
  readonly #parts: MachinesParts;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #processes: Processes;
  readonly #shares: Shares;
  readonly #adopted: Adopted;
  readonly #kernelVsock: KernelVsock;
  /** By a VM's name: it is made, started, stopped and removed by one at a time. */
  readonly #lifecycle = new Mutex();
  #closed = false;
  readonly #foreign: ForeignBoots;

  constructor(parts: MachinesParts) {
    this.#parts = parts;
    const { vault, self, log, disconnect } = parts;
    const booted = async (vm: Vm): Promise<void> => {
      disconnect(vm.id);
      await vault.newGeneration(self, vm.id);
    };
    this.#foreign = new ForeignBoots(parts.runtime, booted);
    this.#shares = new Shares(parts);
    const witness: Witness = {
      booted,
      ended: (vm, exit) => {
        disconnect(vm.id);
        this.#shares.close(vm.id).catch((error: unknown) => log.report(error));
        log.write(`vm "${vm.name}" ended (${exit.by}): ${exit.detail}`);
      },
      report: (error) => log.report(error),
    };
    this.#processes = new Processes(parts.runtime, witness);
    this.#adopted = new Adopted(parts.runtime, witness);
    this.#kernelVsock = new KernelVsock({
      local: parts.localVsock,
      processOf: (vm) => this.processOf(vm.id)?.pid,
      accept: (vm, stream, pid) =>
        void this.#acceptForeign(vm, stream, { vmId: vm.id, channel: "af-vsock", rootOnly: false, pid }),
      report: (line) => log.write(line),
    });
  }

  /**
   * Binds the sockets of every VM that is known, and then finds those that run, all at once: one may not answer. Called
   * again whenever the keys were opened; what has its sockets keeps them.
   */
  async open(): Promise<void> {
    const known = await this.#parts.vault.vms(this.#parts.self);
    const vms = known.filter(({ id }) => !this.#endpoints.has(id));
    for (const vm of vms) {
      try {
        await this.#open(vm, false);
      } catch (error) {
        // One VM whose sockets cannot be bound must not keep the others from theirs.
        this.#parts.log.report(error);
      }
    }
    await Promise.all(vms.map((vm) => (vm.launch ? this.#find(vm) : this.#follow(vm))));
  }

  async #find(vm: Vm): Promise<void> {
    const directory = this.#directory(vm);
    await this.#processes.find(vm, directory);
    const share = vm.launch?.share;
    if (!share || !this.#processes.machine(vm.id)) return;
    try {
      await this.#shares.resume(vm, share, directory);
    } catch (error) {
      this.#parts.log.report(error);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#shares[Symbol.asyncDispose]();
    this.#processes.detach();
    this.#adopted.close();
    await this.#kernelVsock.close();
    for (const endpoint of this.#endpoints.values()) await endpoint.close();
    this.#endpoints.clear();
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
      await this.#discard(vm);
    });
  }

  async start(caller: Caller, name: string, wait?: Wait): Promise<VmView> {
    const { vm, machine } = await this.#lifecycle.run(name, async () => {
      const admitted = await this.#parts.vault.admit(caller, "vm.start", name);
      this.#checkRunner(admitted);
      return { vm: admitted, machine: await this.#launch(admitted) };
    });
    if (wait) await this.#wait(caller, vm, wait, machine);
    return this.#view(caller, vm);
  }

  async stop(caller: Caller, name: string, grace: number): Promise<VmView> {
    return this.#lifecycle.run(name, async () => {
      const vm = await this.#parts.vault.admit(caller, "vm.stop", name);
      const machine = this.#processes.machine(vm.id);
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
      await this.#adopted.observe(vm, this.#serialSocket(vm), pid);
      return this.#view(caller, vm);
    });
  }

  /**
   * The process that has a VM which something else has started, if it is seen and lives at this moment: what a stream of
   * the host kernel's AF_VSOCK, known by its CID, is served for.
   */
  processOf(vmId: string): ProcessIdentity | undefined {
    return this.#adopted.process(vmId);
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

  get servesNetwork(): boolean {
    return this.#parts.identities.areServed;
  }

  /**
   * Serves the stream of a guest that has come over a network with a certificate of this VM: its key is root's alone in
   * the guest. False for a VM that there is not.
   */
  admit(vmId: string, stream: Duplex): boolean {
    if (!this.#endpoints.has(vmId)) return false;
    this.#parts.accept(stream, { vmId, channel: "tcp", rootOnly: true });
    return true;
  }

  async #make(caller: Caller, request: VmRequest, start: boolean): Promise<{ vm: Vm; machine: Machine | undefined }> {
    const vm = await this.#parts.vault.createVm(caller, request);
    try {
      await this.#open(vm, true);
      if (!vm.launch) await this.#follow(vm, request.pid);
      return { vm, machine: start ? await this.#launch(vm) : undefined };
    } catch (error) {
      throw await this.#undo(vm, error);
    }
  }

  /** Takes away what was made of `vm`, unless somebody did so meanwhile; gives the error with its last words. */
  async #undo(vm: Vm, error: unknown): Promise<unknown> {
    const { vault, self } = this.#parts;
    const known = await vault.vms(self);
    if (!known.some(({ id }) => id === vm.id)) return error;
    const words = await this.#lastWords(vm);
    await vault.removeVm(self, vm.name);
    await this.#discard(vm);
    return withHint(error, words);
  }

  /** `isNew`: it is being made, so that all of it has to work now. */
  async #open(vm: Vm, isNew: boolean): Promise<void> {
    const { vault, accept, log } = this.#parts;
    const endpoint = await Endpoint.open(this.#directory(vm), vm, {
      vsock: vm.adopted?.by === "uds" ? adoptedVsock(vm.adopted.path, isNew, (error) => log.report(error)) : vsock,
      vault,
      accept: (stream, identity) => {
        if (vm.launch || identity.channel === "ssh") accept(stream, identity);
        else void this.#acceptForeign(vm, stream, identity);
      },
      machines: this,
      report: (line) => log.write(line),
    });
    this.#endpoints.set(vm.id, endpoint);
    await this.#kernelVsock.add(vm);
  }

  /**
   * Of a VM that something else runs: serves the stream once it is known which boot it is of. What comes by ssh is brought
   * by a process of its own each time, of which no boot can be told: there it is the key that counts.
   */
  async #acceptForeign(vm: Vm, stream: Duplex, identity: LocalIdentity): Promise<void> {
    stream.on("error", () => stream.destroy());
    try {
      if (!(await this.#adopted.brings(vm, identity))) await this.#foreign.look(vm, identity);
      if (!stream.destroyed) this.#parts.accept(stream, identity);
    } catch (error) {
      stream.destroy();
      this.#parts.log.report(error);
    }
  }

  /** What cannot be plugged in, or is not there yet, is no fault: it is shown, and looked for again. */
  async #follow(vm: Vm, pid?: number): Promise<void> {
    try {
      await this.#adopted.follow(vm, this.#serialSocket(vm), pid);
    } catch (error) {
      this.#parts.log.report(error);
    }
  }

  #serialSocket(vm: Vm): string {
    const { channels, directory } = this.#endpoint(vm);
    return channels.find(({ kind }) => kind === "virtio-serial")?.path ?? join(directory, "serial.sock");
  }

  async #launch(vm: Vm): Promise<Machine> {
    const { directory } = this.#endpoint(vm);
    const serial = this.#serialSocket(vm);
    const { vault, self, identities, log } = this.#parts;
    const sockets = { serial, console: join(directory, "console.sock") };
    const share = vm.launch?.share;
    try {
      return await this.#processes.launch(vm, directory, sockets, () =>
        share
          ? this.#shares.open(vm, share, directory)
          : composeBoot(vault, self, vm, identities, (line) => log.write(line)),
      );
    } catch (error) {
      await this.#shares.close(vm.id);
      throw error;
    }
  }

  /** Waits for the guest's word, or for the end of its machine, whichever comes first. */
  async #wait(caller: Caller, vm: Vm, wait: Wait, machine = this.#processes.machine(vm.id)): Promise<void> {
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
    const endpoint = this.#endpoints.get(vm.id);
    const directory = this.#directory(vm);
    const problem = this.#adopted.problem(vm) ?? this.#kernelVsock.problem(vm);
    return {
      vm,
      machine: this.#adopted.state(vm) ?? this.#processes.state(vm, directory),
      secrets: (await vault.grants(caller, vm.name)).map(({ secret }) => secret.name),
      convergence: await vault.convergence(caller, vm.id),
      channels: endpoint?.channels ?? [],
      controlSocket: join(directory, "control.sock"),
      ...(problem && {
        problem: { message: problem.message, ...(problem.hint !== undefined && { hint: problem.hint }) },
      }),
    };
  }

  /** Ends the process and takes the folder away; a VM that is not quite there is no fault. */
  async #discard(vm: Vm): Promise<void> {
    await this.#processes.end(vm.id);
    await this.#shares.close(vm.id);
    await this.#adopted.forget(vm);
    await this.#kernelVsock.remove(vm);
    await this.#foreign.forget(vm);
    this.#parts.disconnect(vm.id);
    await this.#endpoints.get(vm.id)?.close();
    this.#endpoints.delete(vm.id);
    try {
      await removeFolder(this.#directory(vm));
    } catch (error) {
      // What a runner built there to hinder us stays, with nobody's access but ours; the VM goes all the same.
      this.#parts.log.report(error);
    }
  }

  async #lastWords(vm: Vm): Promise<string[]> {
    try {
      return (await this.#endpoints.get(vm.id)?.console.tail(LAST_LINES)) ?? [];
    } catch (error) {
      // They would only have explained the error that is on its way out.
      this.#parts.log.report(error);
      return [];
    }
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
