import { join } from "node:path";
import type { LocalIdentity } from "#channel";
import { HatchwayError, toHatchwayError } from "#error";
import type { MachineState } from "#machines";
import type { Adoption, Vm } from "#vm";
import type { ProcessIdentity, Sighting } from "#vmm";
import { isAlive, isSameProcess } from "#vmm/process";
import { look } from "#vmm/sighting";
import { Boots, type Witness } from "#daemon/boots";
import { ProcessRecords, type ProcessRecord } from "#daemon/process-records";

/** Milliseconds between two looks for the process of a VM that has none. */
const LOOK_MS = 1_000;

/** A VM whose process is looked for. */
interface Followed {
  vm: Vm;
  adoption: Adoption;
  /** Of an adoption by pid, what was said last. */
  pid: number | undefined;
  /** Where the host end of its virtio-serial port is. */
  serialSocket: string;
  sighting: Sighting | undefined;
  /** Why there is none. */
  reason: string;
  problem: HatchwayError | undefined;
  /** Ends the pause before the next look. */
  wake: () => void;
  /** Settles with the look that is under way. */
  looking: Promise<void> | undefined;
  isClosed: boolean;
}

/** The processes of VMs that something else has started: which they are, when they end, and when their guests boot. */
export class Adopted {
  readonly #records: ProcessRecords<ProcessRecord>;
  readonly #witness: Witness;
  readonly #boots: Boots;
  readonly #followed = new Map<string, Followed>();

  /** `runtime`: the daemon's folder on tmpfs. */
  constructor(runtime: string, witness: Witness) {
    this.#records = new ProcessRecords(join(runtime, "adopted"));
    this.#witness = witness;
    this.#boots = new Boots(witness);
  }

  /**
   * Looks for the process of `vm`, and goes on looking whenever it has none. Resolves after the first look. `said`: of an
   * adoption by pid, if not what was said to an earlier daemon.
   */
  async follow(vm: Vm, serialSocket: string, said?: number): Promise<void> {
    const adoption = vm.adopted ?? { by: "pid" };
    const before = await this.#records.read(vm.id);
    // Which process it was is known only as long as it is the same.
    const pid = said ?? (before && isAlive(before.process) ? before.process.pid : undefined);
    if (adoption.by === "pid" && pid === undefined && !vm.adopted) return;
    const followed = this.#add(vm, adoption, serialSocket, pid);
    await this.#look(followed);
    void this.#goOn(followed);
  }

  /** Takes it that `pid` has the VM. Throws "forbidden", "conflict", "not-found". */
  async observe(vm: Vm, serialSocket: string, pid: number): Promise<void> {
    const adoption = vm.adopted ?? { by: "pid" };
    if (adoption.by !== "pid") {
      throw new HatchwayError("conflict", `the process of vm "${vm.name}" is found by its ${describe(adoption)}`);
    }
    const before = this.#followed.get(vm.id);
    if (before?.sighting && isAlive(before.sighting.process)) {
      if (before.sighting.process.pid === pid) return;
      throw new HatchwayError("conflict", `vm "${vm.name}" is process ${before.sighting.process.pid} already`);
    }
    if (before) this.#drop(before);
    const followed = this.#add(vm, adoption, serialSocket, pid);
    await this.#look(followed);
    if (!followed.sighting) {
      this.#drop(followed);
      throw followed.problem ?? new HatchwayError("not-found", followed.reason);
    }
    void this.#goOn(followed);
  }

  /** Undefined of a VM that is not looked for. */
  state({ id }: Vm): MachineState | undefined {
    const followed = this.#followed.get(id);
    if (!followed) return undefined;
    const { sighting, reason } = followed;
    return sighting ? { state: "running", pid: sighting.process.pid } : { state: "stopped", reason };
  }

  problem({ id }: Vm): HatchwayError | undefined {
    return this.#followed.get(id)?.problem;
  }

  /** The process that has the VM, if it is seen and lives at this moment. */
  process(vmId: string): ProcessIdentity | undefined {
    const process = this.#followed.get(vmId)?.sighting?.process;
    return process && isAlive(process) ? process : undefined;
  }

  /**
   * Throws "forbidden" unless a stream comes from the process that has the VM. False for a VM that is not looked for, and
   * a channel whose streams another process brings than the VM's, as the device of a vsock beside QEMU.
   */
  async brings({ id, name }: Vm, { channel, pid }: LocalIdentity): Promise<boolean> {
    const followed = this.#followed.get(id);
    if (!followed) return false;
    const own = followed.adoption.by === "uds" ? "vsock" : "virtio-serial";
    // Of a CID it was asked which process has it.
    if (channel !== own && channel !== "af-vsock") return false;
    if (this.process(id)?.pid !== pid) await this.#lookNow(followed);
    const seen = this.process(id)?.pid;
    if (seen === pid) return true;
    const who = seen === undefined ? "none is seen" : `it is process ${seen}`;
    throw new HatchwayError("forbidden", `process ${pid} called for vm "${name}" and is not that vm's: ${who}`);
  }

  async forget({ id }: Vm): Promise<void> {
    const followed = this.#followed.get(id);
    if (followed) this.#drop(followed);
    await this.#records.forget(id);
  }

  close(): void {
    for (const followed of this.#followed.values()) this.#drop(followed);
  }

  #add(vm: Vm, adoption: Adoption, serialSocket: string, pid: number | undefined): Followed {
    const followed: Followed = {
      vm,
      adoption,
      pid,
      serialSocket,
      sighting: undefined,
      reason: "not looked for yet",
      problem: undefined,
      wake: () => undefined,
      looking: undefined,
      isClosed: false,
    };
    this.#followed.set(vm.id, followed);
    return followed;
  }

  #drop(followed: Followed): void {
    followed.isClosed = true;
    followed.sighting?.close();
    followed.wake();
    if (this.#followed.get(followed.vm.id) === followed) this.#followed.delete(followed.vm.id);
  }

  async #goOn(followed: Followed): Promise<void> {
    while (!followed.isClosed) {
      const { sighting } = followed;
      if (sighting) {
        await sighting.ended;
        if (followed.isClosed) return;
        followed.sighting = undefined;
        followed.reason = `its process ${sighting.process.pid} ended`;
        if (!isAlive(sighting.process)) this.#witness.ended(followed.vm, { by: "died", detail: "its process is gone" });
      }
      // What was said of a process holds for no other.
      if (followed.adoption.by === "pid" && !isRunning(followed)) return;
      await pause(followed);
      if (!followed.isClosed) await this.#look(followed);
    }
  }

  /** For who cannot wait for the next: a VMM that was just started again. */
  async #lookNow(followed: Followed): Promise<void> {
    const { sighting } = followed;
    if (sighting && isAlive(sighting.process)) return;
    sighting?.close();
    await sighting?.ended;
    followed.wake();
    await this.#look(followed);
  }

  /** Never rejects; a look that is under way is the one. */
  #look(followed: Followed): Promise<void> {
    followed.looking ??= this.#tryLook(followed)
      .catch((error: unknown) => {
        const known = toHatchwayError(error);
        if (known !== error) this.#witness.report(error);
        followed.reason = known.message;
        // That nobody has the VM now is no fault of anything.
        if (known.code !== "not-found" && known.code !== "unavailable") followed.problem = known;
      })
      .finally(() => (followed.looking = undefined));
    return followed.looking;
  }

  async #tryLook(followed: Followed): Promise<void> {
    if (followed.sighting) return;
    const { vm, adoption, pid } = followed;
    const sighting = await look(adoption, pid, () => void this.#boots.seen(vm));
    try {
      this.#check(vm, sighting);
      const before = await this.#records.read(vm.id);
      if (!before || !isSameProcess(before.process, sighting.process)) {
        await this.#witness.booted(vm);
        await this.#records.write(vm.id, { process: sighting.process });
      }
    } catch (error) {
      sighting.close();
      throw error;
    }
    followed.problem = undefined;
    followed.sighting = sighting;
    await sighting.plug?.(followed.serialSocket);
  }

  #check({ id, name, runner }: Vm, { process, runner: owner }: Sighting): void {
    if (owner.uid !== runner.uid) {
      throw new HatchwayError(
        "forbidden",
        `process ${process.pid} is of uid ${owner.uid}, and vm "${name}" is run by uid ${runner.uid}`,
      );
    }
    for (const { vm, sighting } of this.#followed.values()) {
      if (vm.id === id || !sighting || !isSameProcess(sighting.process, process)) continue;
      throw new HatchwayError("conflict", `process ${process.pid} has vm "${vm.name}", and can't have "${name}" too`);
    }
  }
}

function isRunning({ pid, sighting }: Followed): boolean {
  return sighting !== undefined && sighting.process.pid === pid;
}

function pause(followed: Followed): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, LOOK_MS);
    timer.unref();
    followed.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

function describe(adoption: Adoption): string {
  switch (adoption.by) {
    case "uds":
      return `vsock "${adoption.path}"`;
    case "qmp":
      return `monitor "${adoption.path}"`;
    case "libvirt":
      return `domain "${adoption.domain}"`;
    case "pid":
      return "pid";
  }
}
