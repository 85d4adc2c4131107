// What a machine's firmware shows, as QEMU is told: by files in memory that it inherits, so that no value is in an
// argument or on a disk.
import { closeSync } from "node:fs";
import { memoryFile } from "#host/memfd";
import type { FirmwareItem } from "#vmm";

/** QEMU's descriptors of them begin here. */
const FIRST = 3;
/** QEMU's files of fw_cfg have 32 slots at first, of which its own take half. */
const OWN_SLOTS = 32;
/** So many files more it takes where nobody gives it more slots. */
export const FREE_SLOTS = 16;

/** What `-global fw_cfg.x-file-slots` has to say for so many files more. */
export function fwCfgSlots(files: number): number {
  return OWN_SLOTS + files;
}

/** QEMU's arguments for items that it inherits in this order, as descriptors from 3 on. */
export function firmwareArguments(items: readonly FirmwareItem[]): string[] {
  const options = items.map((item, at) => {
    const path = `/proc/self/fd/${FIRST + at}`;
    return item.kind === "smbios"
      ? ["-smbios", `type=11,path=${path}`]
      : ["-fw_cfg", `name=${item.name.replaceAll(",", ",,")},file=${path}`];
  });
  const files = items.filter(({ kind }) => kind === "fw-cfg").length;
  const slots = files > 0 ? ["-global", `fw_cfg.x-file-slots=${fwCfgSlots(files)}`] : [];
  return [...slots, ...options.flat()];
}

/** Items as open files in memory; disposing closes ours, and those of a process that inherited them stay. */
export class FirmwareFiles implements Disposable {
  readonly descriptors: number[] = [];

  /** Throws HatchwayError "unavailable". */
  constructor(items: readonly FirmwareItem[]) {
    try {
      for (const { content } of items) this.descriptors.push(memoryFile("hatchway-firmware", content));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.descriptors.splice(0)) closeSync(fd);
  }
}
