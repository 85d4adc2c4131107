import { join } from "node:path";
import type { Duplex } from "node:stream";
import { adoptedVsock } from "#channel/adopted-vsock";
import { removeFolder } from "#channel/folder";
import { vsock } from "#channel/vsock";
import type { GuestIdentity, LocalIdentity } from "#channel";
import type { Caller } from "#caller";
import { Adopted } from "#daemon/adopted";
import { composeBoot } from "#daemon/boot";
import type { Witness } from "#daemon/boots";
import { Endpoint } from "#daemon/endpoint";
import { ForeignBoots } from "#daemon/foreign-boots";
import { KernelVsock } from "#daemon/kernel-vsock";
import type { GuestIdentities } from "#daemon/guest-identities";
import { Processes } from "#daemon/processes";
import { Shares } from "#daemon/shares";
import { HatchwayError } from "#error";
import type { Machines, VmView } from "#machines";
import type { Vault } from "#vault";
import type { Vm } from "#vm";
import type { Machine } from "#vmm";

export interface HostedParts {
  vault: Vault;
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

/**
 * What there is on this host of each VM: its sockets, its folder, and its process, that Hatchway started or that is only
 * seen. It asks nobody whether it may.
 */
export class HostedVms {
  readonly #parts: HostedParts;
  /** For the sockets of the VMs' runners. */
  readonly #machines: Machines;
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #processes: Processes;
  readonly #shares: Shares;
  readonly #adopted: Adopted;
  readonly #kernelVsock: KernelVsock;
  readonly #foreign: ForeignBoots;

  constructor(parts: HostedParts, machines: Machines) {
    this.#parts = parts;
    this.#machines = machines;
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
      processOf: (vm) => this.#adopted.process(vm.id)?.pid,
      accept: (vm, stream, pid) =>
        void this.#acceptForeign(vm, stream, { vmId: vm.id, channel: "af-vsock", rootOnly: false, pid }),
      report: (line) => log.write(line),
    });
  }

  /** Binds the sockets of those that have none yet, and then finds those that run, all at once: one may not answer. */
  async openAll(known: readonly Vm[]): Promise<void> {
    const vms = known.filter(({ id }) => !this.#endpoints.has(id));
    for (const vm of vms) {
      try {
        await this.open(vm, false);
      } catch (error) {
        // One VM whose sockets cannot be bound must not keep the others from theirs.
        this.#parts.log.report(error);
      }
    }
    await Promise.all(vms.map((vm) => (vm.launch ? this.#find(vm) : this.follow(vm))));
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
    await this.#shares[Symbol.asyncDispose]();
    this.#processes.detach();
    this.#adopted.close();
    await this.#kernelVsock.close();
    for (const endpoint of this.#endpoints.values()) await endpoint.close();
    this.#endpoints.clear();
  }

  /** As `HostMachines.admit`. */
  admit(vmId: string, stream: Duplex): boolean {
    if (!this.#endpoints.has(vmId)) return false;
    this.#parts.accept(stream, { vmId, channel: "tcp", rootOnly: true });
    return true;
  }

  /** `isNew`: it is being made, so that all of it has to work now. */
  async open(vm: Vm, isNew: boolean): Promise<void> {
    const { vault, accept, log } = this.#parts;
    const endpoint = await Endpoint.open(this.#directory(vm), vm, {
      vsock: vm.adopted?.by === "uds" ? adoptedVsock(vm.adopted.path, isNew, (error) => log.report(error)) : vsock,
      vault,
      accept: (stream, identity) => {
        if (vm.launch || identity.channel === "ssh") accept(stream, identity);
        else void this.#acceptForeign(vm, stream, identity);
      },
      machines: this.#machines,
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
  async follow(vm: Vm, pid?: number): Promise<void> {
    try {
      await this.#adopted.follow(vm, this.#serialSocket(vm), pid);
    } catch (error) {
      this.#parts.log.report(error);
    }
  }

  #serialSocket(vm: Vm): string {
    const { channels, directory } = this.endpoint(vm);
    return channels.find(({ kind }) => kind === "virtio-serial")?.path ?? join(directory, "serial.sock");
  }

  async launch(vm: Vm): Promise<Machine> {
    const { directory } = this.endpoint(vm);
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

  /** A process of a VM that something else starts is told of. */
  async observe(vm: Vm, pid: number): Promise<void> {
    await this.#adopted.observe(vm, this.#serialSocket(vm), pid);
  }

  /** What runs, if Hatchway started it. */
  machine(vm: Vm): Machine | undefined {
    return this.#processes.machine(vm.id);
  }

  /** What of a VM's view is seen here. */
  seen(vm: Vm): Pick<VmView, "machine" | "channels" | "controlSocket" | "problem"> {
    const directory = this.#directory(vm);
    const problem = this.#adopted.problem(vm) ?? this.#kernelVsock.problem(vm);
    return {
      machine: this.#adopted.state(vm) ?? this.#processes.state(vm, directory),
      channels: this.#endpoints.get(vm.id)?.channels ?? [],
      controlSocket: join(directory, "control.sock"),
      ...(problem && {
        problem: { message: problem.message, ...(problem.hint !== undefined && { hint: problem.hint }) },
      }),
    };
  }

  /** Ends the process and takes the folder away; a VM that is not quite there is no fault. */
  async discard(vm: Vm): Promise<void> {
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

  /** The end of its console; nothing where that cannot be had. */
  async lastWords(vm: Vm): Promise<string[]> {
    try {
      return (await this.#endpoints.get(vm.id)?.console.tail(LAST_LINES)) ?? [];
    } catch (error) {
      // They would only have explained the error that is on its way out.
      this.#parts.log.report(error);
      return [];
    }
  }

  /** Throws HatchwayError "unavailable". */
  endpoint(vm: Vm): Endpoint {
    const endpoint = this.#endpoints.get(vm.id);
    if (endpoint) return endpoint;
    throw new HatchwayError("unavailable", `the sockets of vm "${vm.name}" could not be bound`, {
      hint: "see why with: hatchway logs",
    });
  }

  #directory(vm: Vm): string {
    return join(this.#parts.runtime, "vm", vm.name);
  }
}
