// What tests with real machines need: the guest that scripts/setup builds, a folder as the daemon would make it, and a
// machine that is gone when the test is over, whatever happened.

import { chownSync, chmodSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join, resolve } from "node:path";
import process from "node:process";
import { shellSocket } from "#vmm/paths";
import { ConsoleLog } from "#vmm/console";
import { minimalGuest } from "#vmm/guest";
import { qemu } from "#vmm/machine";
import { runInGuest, type ShellResult } from "#client/guest-shell";
import type { Accelerator, Machine, MachineSpec } from "#vmm";

/** Where scripts/setup puts the minimal guest. */
export const guestFolder: string = resolve(import.meta.dirname, "../../dist/guest/x86_64");

/** The same of Debian's kernel for any machine, by scripts/build-guest --generic. */
export const genericGuestFolder: string = `${guestFolder}-generic`;

/** Kernel and initrd of the minimal guest, for emulation. */
export function guestFiles(folder: string = guestFolder): Pick<MachineSpec, "kernel" | "initrd"> {
  const files = minimalGuest(folder, emulated);
  for (const file of Object.values(files)) {
    if (!existsSync(file)) throw new Error(`"${file}" does not exist: run scripts/setup`);
  }
  return files;
}

/** Tests say how the guest runs, so that they mean the same everywhere. */
export const emulated: Accelerator = { kind: "tcg", reason: "a test" };

export const nobody = { uid: 65534, gid: 65534, name: "nobody" } as const;
export const root = { uid: 0, gid: 0, name: "root" } as const;

/** A new folder with a short path (unix sockets), in which the runner may make files: root's, sticky, of his group. */
export function machineFolder(runner: { uid: number; gid: number }): string {
  if (process.getuid?.() !== 0) throw new Error("tests with real machines run as root");
  const folder = mkdtempSync("/tmp/hatchway-vm.");
  chownSync(folder, 0, runner.gid);
  chmodSync(folder, 0o1770);
  return folder;
}

/** A small machine of the minimal guest, without the agent. */
export function specIn(directory: string): MachineSpec {
  return {
    name: "test",
    directory,
    runner: nobody,
    ...guestFiles(),
    memoryMiB: 192,
    cpus: 1,
    append: "hatchway.agent=off",
    serialSocket: join(directory, "serial.sock"),
    consoleSocket: join(directory, "console.sock"),
    shell: true,
  };
}

export function listenForConsole(spec: MachineSpec): Promise<ConsoleLog> {
  const log = join(spec.directory, "console.log");
  return ConsoleLog.listen({ socket: spec.consoleSocket, log, runner: spec.runner });
}

/** A machine of the minimal guest with what the daemon would have around it. */
export class GuestMachine {
  readonly spec: MachineSpec;
  console: ConsoleLog;
  /** Stands for the daemon's end of the virtio-serial port; `ports` are QEMU's connections to it. */
  readonly serial: Server;
  readonly ports: Socket[];
  machine: Machine;

  private constructor(
    spec: MachineSpec,
    console: ConsoleLog,
    agent: { serial: Server; ports: Socket[] },
    machine: Machine,
  ) {
    this.spec = spec;
    this.console = console;
    this.serial = agent.serial;
    this.ports = agent.ports;
    this.machine = machine;
  }

  static async launch(change: Partial<MachineSpec> = {}): Promise<GuestMachine> {
    const runner = change.runner ?? nobody;
    const directory = change.directory ?? machineFolder(runner);
    const spec: MachineSpec = { ...specIn(directory), ...change, runner };
    const console = await listenForConsole(spec);
    const ports: Socket[] = [];
    const serial = createServer((socket) => {
      ports.push(socket);
      socket.on("error", () => socket.destroy());
    });
    serial.listen(spec.serialSocket);
    try {
      chownSync(spec.serialSocket, runner.uid, runner.gid);
      return new GuestMachine(spec, console, { serial, ports }, await qemu.launch(spec, emulated));
    } catch (error) {
      await console.close();
      serial.close();
      rmSync(directory, { recursive: true });
      throw error;
    }
  }

  /** Runs a shell script in the guest as root; waits for the guest's boot if it must. */
  run(script: string, timeoutMs: number = 60_000): Promise<ShellResult> {
    return runInGuest(shellSocket(this.spec.directory), ["sh", "-c", script], { timeoutMs });
  }

  async output(script: string): Promise<string> {
    const { code, output } = await this.run(script);
    if (code !== 0) throw new Error(`"${script}" ended with ${code} in the guest: ${output.toString()}`);
    return output.toString();
  }

  /** Resolves with the machine's next event of that name. */
  next(event: "reset" | "exit"): Promise<void> {
    return new Promise((done) => {
      this.machine.on(event, () => done());
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine.kill();
    await this.console.close();
    this.serial.close();
    rmSync(this.spec.directory, { recursive: true });
  }
}
