import { join } from "node:path";
import { HatchwayError, toHatchwayError } from "#error";
import { hostUser } from "#host/users";
import type { MachineState } from "#machines";
import type { Vm } from "#vm";
import type { Accelerator, BootSecrets, Machine, MachineExit, MachineSpec, ProcessIdentity } from "#vmm";
import { AcceleratorChoice } from "#vmm/kvm";
import { qemu } from "#vmm/machine";
import { shellSocket } from "#vmm/paths";
import { isAlive, signalProcess } from "#vmm/process";
import { Boots, type Witness } from "#daemon/boots";
import { guestImage } from "#daemon/guest-image";
import { ProcessRecords } from "#daemon/process-records";

/** What is kept of a machine that runs. */
interface MachineRecord {
  process: ProcessIdentity;
  accelerator: Accelerator;
  shell: boolean;
}

interface Running {
  machine: Machine;
  accelerator: Accelerator;
  shell: boolean;
}

/** The processes of the VMs that Hatchway starts; they outlive the daemon and are found again. */
export class Processes {
  readonly #runtime: string;
  readonly #witness: Witness;
  readonly #records: ProcessRecords<MachineRecord>;
  readonly #choice: AcceleratorChoice;
  readonly #running = new Map<string, Running>();
  readonly #ended = new Map<string, MachineState>();
  readonly #boots: Boots;

  /** `runtime`: the daemon's folder on tmpfs. */
  constructor(runtime: string, witness: Witness) {
    this.#runtime = runtime;
    this.#witness = witness;
    this.#boots = new Boots(witness);
    this.#records = new ProcessRecords(join(runtime, "machines"));
    this.#choice = new AcceleratorChoice(join(runtime, "accelerators.json"));
  }

  state(vm: Vm, directory: string): MachineState {
    const running = this.#running.get(vm.id);
    if (!running) return this.#ended.get(vm.id) ?? { state: vm.launch ? "stopped" : "defined", reason: "not started" };
    const { machine, accelerator, shell } = running;
    return {
      state: "running",
      pid: machine.process.pid,
      accelerator: accelerator.kind,
      ...(accelerator.kind === "tcg" && { acceleratorReason: accelerator.reason }),
      ...(shell && { shellSocket: shellSocket(directory) }),
    };
  }

  machine(vmId: string): Machine | undefined {
    return this.#running.get(vmId)?.machine;
  }

  /**
   * Starts the VM's process in its folder; its guest's first instruction comes after the witness was told. `boot` is asked
   * last, for values that are wiped as soon as they are there.
   */
  async launch(
    vm: Vm,
    directory: string,
    channel: { serial: string; console: string },
    boot: () => Promise<BootSecrets>,
  ): Promise<Machine> {
    if (this.#running.has(vm.id)) throw new HatchwayError("conflict", `vm "${vm.name}" is running`);
    if (!vm.launch) {
      throw new HatchwayError("invalid", `vm "${vm.name}" was created without a way to start it`, {
        hint: "start it with the tool that runs it, or use: hatchway vm launch",
      });
    }
    await this.#refuseSecond(vm);
    const image = await guestImage(vm.launch, vm.runner, this.#runtime);
    const { disk, memoryMiB, cpus, share } = vm.launch;
    if (image.own && share?.by === "9p") {
      throw new HatchwayError("unsupported", "the kernel of the minimal guest has no 9p", {
        hint: "share by virtiofs, or boot a guest of your own with --kernel and --initrd",
      });
    }
    const append = image.own && share ? joinWords(vm.launch.append, `hatchway.share=${share.by}`) : vm.launch.append;
    const user = await hostUser(vm.runner.uid);
    const runner = { ...vm.runner, ...(user && { name: user.name }) };
    const accelerator = await this.#choice.choose({ runner, kernel: image.probed });
    const spec: MachineSpec = {
      name: vm.name,
      directory,
      runner,
      ...image.files(accelerator),
      ...(disk && { disk }),
      memoryMiB,
      cpus,
      ...(append !== undefined && { append }),
      serialSocket: channel.serial,
      consoleSocket: channel.console,
      shell: image.own,
    };
    await this.#witness.booted(vm);
    const machine = await qemu.launch({ ...spec, ...(await boot()) }, accelerator);
    this.#watch(vm, { machine, accelerator, shell: spec.shell });
    try {
      await this.#records.write(vm.id, { process: machine.process, accelerator, shell: spec.shell });
    } catch (error) {
      // A machine that no later daemon would find.
      await machine.kill();
      throw error;
    }
    return machine;
  }

  /** Finds the process that an earlier daemon launched. */
  async find(vm: Vm, directory: string): Promise<void> {
    try {
      const record = await this.#records.read(vm.id);
      if (!record) return;
      const machine = await qemu.attach({ name: vm.name, directory }, record.process);
      if (machine) this.#watch(vm, { machine, accelerator: record.accelerator, shell: record.shell });
      else {
        await this.#records.forget(vm.id);
        this.#ended.set(vm.id, { state: "failed", reason: "it ended while no daemon was watching" });
      }
    } catch (error) {
      this.#witness.report(error);
      this.#ended.set(vm.id, { state: "failed", reason: toHatchwayError(error).message });
    }
  }

  /** Ends the VM's process, if it has one, and forgets it. */
  async end(vmId: string): Promise<void> {
    await this.machine(vmId)?.stop(0);
    const left = await this.#records.read(vmId);
    if (left) signalProcess(left.process, "SIGKILL");
    await this.#records.forget(vmId);
    this.#ended.delete(vmId);
  }

  /** Stops watching; the machines go on. */
  detach(): void {
    for (const { machine } of this.#running.values()) machine.detach();
  }

  /** A process that was found and did not answer still has the VM's disk and sockets. */
  async #refuseSecond(vm: Vm): Promise<void> {
    const left = await this.#records.read(vm.id);
    if (!left || !isAlive(left.process)) return;
    const { pid } = left.process;
    throw new HatchwayError("conflict", `vm "${vm.name}" still is process ${pid}, whose monitor does not answer`, {
      hint: `end it with: kill ${pid}`,
    });
  }

  #watch(vm: Vm, running: Running): void {
    this.#running.set(vm.id, running);
    this.#ended.delete(vm.id);
    running.machine.on("reset", () => void this.#boots.seen(vm));
    // Not the event: the machine may have ended by now.
    void running.machine.exited.then((exit) => this.#exited(vm, exit));
  }

  async #exited(vm: Vm, exit: MachineExit): Promise<void> {
    this.#running.delete(vm.id);
    this.#ended.set(vm.id, { state: exit.by === "died" ? "failed" : "stopped", reason: exit.detail });
    this.#witness.ended(vm, exit);
    try {
      await this.#records.forget(vm.id);
    } catch (error) {
      this.#witness.report(error);
    }
  }
}

function joinWords(...words: (string | undefined)[]): string {
  return words.filter((word) => word !== undefined && word !== "").join(" ");
}
