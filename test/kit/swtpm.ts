// A TPM2 for a machine: swtpm, and a QEMU in front of the real one in PATH that is told of it. Hatchway itself starts no machine
// with a TPM.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { guestFolder } from "#test/kit/guest";
import { until } from "#test/kit/until";
import type { MachineSpec } from "#vmm";

/**
 * QEMU 7.2 loads an initrd to the end of the memory below 2 GiB, and takes tables of ACPI for smaller than they are with a TPM's
 * log: so there is more memory than that, of which the guest touches little. An unpacked kernel knows no such limit.
 */
export const WITH_TPM: Pick<MachineSpec, "kernel" | "memoryMiB"> = {
  kernel: join(guestFolder, "vmlinuz"),
  memoryMiB: 2560,
};

export class Swtpm implements AsyncDisposable {
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #path: string;

  private constructor(folder: string, child: ChildProcess, path: string) {
    this.#folder = folder;
    this.#child = child;
    this.#path = path;
  }

  /** Until it is disposed of each machine that this process launches has it. */
  static async start(): Promise<Swtpm> {
    const folder = mkdtempSync("/tmp/hatchway-tpm.");
    chmodSync(folder, 0o755);
    const socket = join(folder, "socket");
    const control = `type=unixio,path=${socket},mode=0666`;
    const child = spawn("swtpm", ["socket", "--tpm2", "--tpmstate", `dir=${folder}`, "--ctrl", control], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    await until("swtpm listens", () => existsSync(socket));
    const device = `-chardev socket,id=tpm,path=${socket} -tpmdev emulator,id=tpm,chardev=tpm -device tpm-tis,tpmdev=tpm`;
    writeFileSync(join(folder, "qemu-system-x86_64"), `#!/bin/sh\nexec /usr/bin/qemu-system-x86_64 "$@" ${device}\n`, {
      mode: 0o755,
    });
    const path = process.env["PATH"] ?? "";
    process.env["PATH"] = `${folder}${delimiter}${path}`;
    return new Swtpm(folder, child, path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.env["PATH"] = this.#path;
    if (this.#child.exitCode === null) {
      this.#child.kill();
      await once(this.#child, "exit");
    }
    rmSync(this.#folder, { recursive: true });
  }
}
