// The minimal guest that the project builds (scripts/build-guest).

import { join } from "node:path";
import type { Accelerator, MachineSpec } from "#vmm";

/** The packed kernel of the guest in `folder`: what a probe of KVM starts. */
export function packedKernel(folder: string): string {
  return join(folder, "vmlinuz");
}

/**
 * What to start from, of the guest in `folder`. Under emulation that is the unpacked kernel. A packed one is as quick the
 * first time, but when the guest reboots, its unpacker writes over code that QEMU has translated, and QEMU gives that up
 * store by store: 4 of a reboot's 6 seconds. Under KVM it is the packed one, which also chooses its own address.
 */
export function minimalGuest(folder: string, accelerator: Accelerator): Pick<MachineSpec, "kernel" | "initrd"> {
  const kernel = accelerator.kind === "tcg" ? join(folder, "vmlinux") : packedKernel(folder);
  return { kernel, initrd: join(folder, "initrd.img") };
}
