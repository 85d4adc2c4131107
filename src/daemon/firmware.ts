import type { BootChannel } from "#channel";
import { fwCfg } from "#channel/fw-cfg";
import { smbios } from "#channel/smbios";
import type { Caller } from "#caller";
import type { Vault } from "#vault";
import type { Vm } from "#vm";
import type { FirmwareItem } from "#vmm";

const CHANNELS: Record<BootChannel["kind"], BootChannel> = { "fw-cfg": fwCfg, smbios };

/**
 * What the VM's firmware is to show, opened at this moment; none for a VM that has its secrets another way. `log` is told
 * what is lost. Throws as a boot channel does.
 */
export async function composeFirmware(
  vault: Vault,
  self: Caller,
  { id, name, launch }: Vm,
  log: (line: string) => void,
): Promise<FirmwareItem[]> {
  if (!launch?.firmware) return [];
  const { kind, reader, allowReserved } = launch.firmware;
  const guest = { reader, allowReserved, memoryMiB: launch.memoryMiB };
  const { items, lost } = await CHANNELS[kind].compose(await vault.resolve(self, id), guest);
  log(`vm "${name}" has its secrets by ${kind}, which does not bring: ${lost.join(", ")}`);
  return items;
}
