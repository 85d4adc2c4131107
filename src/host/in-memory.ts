import { statfsSync } from "node:fs";

/** statfs(2): TMPFS_MAGIC, which memfds have too, and RAMFS_MAGIC. */
const IN_MEMORY = new Set([0x01021994, 0x858458f6]);

/** Whether nothing of what is at `path` is on a disk. Memory may still be swapped out. */
export function isInMemory(path: string): boolean {
  return IN_MEMORY.has(statfsSync(path).type);
}
