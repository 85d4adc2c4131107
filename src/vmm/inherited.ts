// What QEMU inherits: files in memory, so that no value is in an argument or on a disk.
import { closeSync } from "node:fs";
import { memoryFile } from "#host/memfd";
import type { MachineSpec } from "#vmm";

/** QEMU's descriptors of them begin here. */
const FIRST = 3;

/** The path by which QEMU opens the file of this index among all that it inherits. */
export function inheritedPath(index: number): string {
  return `/proc/self/fd/${FIRST + index}`;
}

/** What the machine inherits, in this order: each item of its firmware, then the disk with its secrets. */
export function inheritedContents({ firmware = [], secretsDisk }: MachineSpec): Buffer[] {
  return [...firmware.map(({ content }) => content), ...(secretsDisk ? [secretsDisk] : [])];
}

/** Contents as open files in memory; disposing closes ours, and those of a process that inherited them stay. */
export class MemoryFiles implements Disposable {
  readonly descriptors: number[] = [];

  /** Throws HatchwayError "unavailable". */
  constructor(contents: readonly Buffer[]) {
    try {
      for (const content of contents) this.descriptors.push(memoryFile("hatchway-boot", content));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.descriptors.splice(0)) closeSync(fd);
  }
}
