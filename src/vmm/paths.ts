// The files of a machine in its runtime folder.

import { join } from "node:path";

/** QEMU's monitor; made by QEMU, so it is the runner's. */
export function qmpSocket(directory: string): string {
  return join(directory, "qmp.sock");
}

/** The shell port's host end (see shell.ts); made by QEMU, so it is the runner's. */
export function shellSocket(directory: string): string {
  return join(directory, "shell.sock");
}
