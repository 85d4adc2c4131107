import type { VmmName, Wirer } from "#wiring";
import { cloudHypervisor } from "./cloud-hypervisor.ts";
import { firecracker } from "./firecracker.ts";
import { libvirt } from "./libvirt.ts";
import { microvmNix } from "./microvm-nix.ts";
import { qemuWirer } from "./qemu-wiring.ts";
import { vmspawn } from "./vmspawn.ts";

/** A VMM that is missing here does not compile. */
export const WIRERS: Readonly<Record<VmmName, Wirer>> = {
  qemu: qemuWirer,
  firecracker,
  "cloud-hypervisor": cloudHypervisor,
  libvirt,
  vmspawn,
  "microvm.nix": microvmNix,
};
