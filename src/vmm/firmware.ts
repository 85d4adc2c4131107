// What a machine's firmware shows, as QEMU is told.
import type { FirmwareItem } from "#vmm";
import { inheritedPath } from "./inherited.ts";

/** QEMU's files of fw_cfg have 32 slots at first, of which its own take half. */
const OWN_SLOTS = 32;
/** So many files more it takes where nobody gives it more slots. */
export const FREE_SLOTS = 16;

/** What `-global fw_cfg.x-file-slots` has to say for so many files more. */
export function fwCfgSlots(files: number): number {
  return OWN_SLOTS + files;
}

/** QEMU's arguments for items that it inherits in this order, first of all that it inherits. */
export function firmwareArguments(items: readonly FirmwareItem[]): string[] {
  const options = items.map((item, at) => {
    const path = inheritedPath(at);
    return item.kind === "smbios"
      ? ["-smbios", `type=11,path=${path}`]
      : ["-fw_cfg", `name=${item.name.replaceAll(",", ",,")},file=${path}`];
  });
  const files = items.filter(({ kind }) => kind === "fw-cfg").length;
  const slots = files > 0 ? ["-global", `fw_cfg.x-file-slots=${fwCfgSlots(files)}`] : [];
  return [...slots, ...options.flat()];
}
