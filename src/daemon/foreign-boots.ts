import { join } from "node:path";
import type { ChannelKind, LocalIdentity } from "#channel";
import { HatchwayError } from "#error";
import { Mutex } from "#mutex";
import type { Vm } from "#vm";
import { identify, isSameProcess } from "#vmm/process";
import { ProcessRecords, type ProcessRecord } from "#daemon/process-records";

/**
 * Sees the boots of VMs that something else runs: a stream that another process brings than the one before, by the same
 * channel, is of another boot. The guest has no say in it. A monitor that reboots its guest within one process is not
 * seen to do so.
 */
export class ForeignBoots {
  readonly #records: ProcessRecords<ProcessRecord>;
  readonly #booted: (vm: Vm) => Promise<void>;
  readonly #looking = new Mutex();

  /** `runtime`: the daemon's folder on tmpfs. `booted` is told before the first stream of a boot is served. */
  constructor(runtime: string, booted: (vm: Vm) => Promise<void>) {
    this.#records = new ProcessRecords(join(runtime, "boots"));
    this.#booted = booted;
  }

  /** Looks at who brought a stream. Throws "unavailable" if that process is gone. */
  async look(vm: Vm, { channel, pid }: LocalIdentity): Promise<void> {
    const id = recordId(vm, channel);
    await this.#looking.run(id, async () => {
      const now = identify(pid);
      if (!now) throw new HatchwayError("unavailable", `process ${pid} ended that called for vm "${vm.name}"`);
      const before = await this.#records.read(id);
      if (before && isSameProcess(before.process, now)) return;
      await this.#booted(vm);
      await this.#records.write(id, { process: now });
    });
  }

  async forget(vm: Vm): Promise<void> {
    for (const channel of CHANNELS) await this.#records.forget(recordId(vm, channel));
  }
}

/** Those whose streams the VMM brings. */
const CHANNELS: readonly ChannelKind[] = ["vsock", "virtio-serial"];

function recordId({ id }: Vm, channel: LocalIdentity["channel"]): string {
  return `${id}-${channel}`;
}
