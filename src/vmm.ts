// A virtual machine as a process of this host: what it is started from, what is known of it while it runs, how it ends.
// The contract of src/vmm/, and the words that delivery and the admin API use for machines.

import type { Disk, Runner } from "#vm";

export interface MachineSpec {
  /** The VM's name, by the grammar of names. */
  name: string;
  /**
   * The VM's runtime folder. It exists, is not open to others, and the runner may make files in it (its own, or root's
   * with mode 1770 and the runner's group). Sockets of the machine are made there: `qmp.sock`, `shell.sock`.
   */
  directory: string;
  /** With its login name, where it has one: the machine then gets that user's groups too, that of /dev/kvm for one. */
  runner: Runner & { name?: string };
  kernel: string;
  initrd?: string;
  disk?: Disk;
  /** 64 to 1,048,576. */
  memoryMiB: number;
  /** 1 to 255. */
  cpus: number;
  /** Put behind the kernel's command line. Anyone in the guest can read it. */
  append?: string;
  /** Where the daemon listens for the machine's virtio-serial port `org.hatchway.0`. */
  serialSocket: string;
  /** Where the daemon listens for the machine's serial console. */
  consoleSocket: string;
  /** Wiped once the machine is started, or has failed to. */
  firmware?: readonly FirmwareItem[];
  /**
   * The bytes of a disk that the guest can read and not write, with the serial HATCHWAY. Wiped as `firmware` is; the machine
   * has them in memory of its own, which ends with it.
   */
  secretsDisk?: Buffer;
  /** A card in QEMU's user network, over which its secrets come; it has no port of the agent's then. */
  network?: boolean;
  /** A folder of the host that the guest can mount by the tag "hatchway", and not write to. */
  share?: MachineShare;
  /** Whether the host can run commands in the guest as root through `shell.sock` (see #client/guest-shell). */
  shell: boolean;
}

/** By 9p QEMU serves the folder itself; by virtiofs a process does that listens on the socket, for this machine alone. */
export type MachineShare = { by: "9p"; folder: string } | { by: "virtiofs"; socket: string };

/** What a machine has of its VM's secrets from its boot on. */
export type BootSecrets = Pick<MachineSpec, "firmware" | "secretsDisk" | "share" | "network">;

/**
 * What a machine's firmware shows to root of its guest: a string of SMBIOS's type 11, or a file of QEMU's fw_cfg
 * (docs/specs/fw_cfg of QEMU). Whoever has it made wipes it.
 */
export type FirmwareItem = { kind: "smbios"; content: Buffer } | { kind: "fw-cfg"; name: string; content: Buffer };

/** How the guest's code is run. `reason` says why the machine's own virtualization is not used. */
export type Accelerator = { kind: "kvm" } | { kind: "tcg"; reason: string };

/** One process for ever: ids are used again, but not with the same start time in the same boot. */
export interface ProcessIdentity {
  pid: number;
  /** In clock ticks since boot: field 22 of /proc/PID/stat, proc(5). */
  startTime: number;
  /** /proc/sys/kernel/random/boot_id. */
  bootId: string;
}

/**
 * How a machine ended. `guest`: it powered itself off. `host`: it was told to. `died`: neither, so something ended or
 * crashed its process. `detail` is for people: QEMU's own reason, the signal or exit code, its last words on stderr.
 */
export interface MachineExit {
  by: "guest" | "host" | "died";
  detail: string;
}

export interface MachineEvents {
  /** Once, within milliseconds of the end of the process. Nothing follows it. */
  exit: [MachineExit];
  /**
   * The guest was rebooted: a new generation of the VM. The firmware may reset the machine once more while it starts, and
   * then this comes twice, milliseconds apart.
   */
  reset: [];
}

/** A running machine. It outlives this object, and the daemon; `attach` finds it again. */
export interface Machine {
  readonly name: string;
  readonly process: ProcessIdentity;
  /** Settles with the event `exit`; never rejects. */
  readonly exited: Promise<MachineExit>;
  on<E extends keyof MachineEvents>(event: E, listener: (...parameters: MachineEvents[E]) => void): this;
  /**
   * Presses the power button, again and again while the guest has not ended; after `graceMs` ends QEMU, and if even that
   * does nothing kills it. Resolves when the process is gone.
   */
  stop(graceMs: number): Promise<MachineExit>;
  /** Kills the process, if it still is that process. Resolves when it is gone. */
  kill(): Promise<MachineExit>;
  /** Stops watching; the machine goes on. */
  detach(): void;
}

/** The process that has a VM which something else has started, for as long as it is looked at. */
export interface Sighting {
  readonly process: ProcessIdentity;
  readonly runner: Runner;
  /** Settles when the process is gone or is no longer seen to have the VM; never rejects. */
  readonly ended: Promise<void>;
  /**
   * Gives the guest a virtio-serial port `org.hatchway.0` that leads to `socket`, unless it has one; absent where nothing
   * can be plugged in. Throws HatchwayError "unsupported" with the monitor's reason.
   */
  plug?(socket: string): Promise<void>;
  /** Stops looking; the process goes on. */
  close(): void;
}

/** A kind of virtual machine monitor. */
export interface Vmm {
  /**
   * Program and arguments that run the machine: exact, without a value of a secret. Throws HatchwayError "invalid" for
   * what cannot be run.
   */
  arguments(spec: MachineSpec, accelerator: Accelerator): string[];
  /**
   * Starts the machine as its runner and resolves when its guest's code runs. Throws HatchwayError "not-found" for a
   * kernel, initrd or disk that does not exist, "unsupported" when the monitor is not installed, "unavailable" with the
   * monitor's last words when it ends at once, "timeout" when it does nothing.
   */
  launch(spec: MachineSpec, accelerator: Accelerator): Promise<Machine>;
  /**
   * The machine that a daemon before this one had launched; undefined when its process is gone. Resets that happened
   * while nobody watched are not told. Throws HatchwayError "timeout" when it lives but its monitor does not answer.
   */
  attach(spec: Pick<MachineSpec, "name" | "directory">, process: ProcessIdentity): Promise<Machine | undefined>;
}
