import type { ShareForm } from "#share";

/** A virtual machine that secrets are attached to, whether Hatchway starts it or something else does. */
export interface Vm {
  /** 128 random bits in hex; a name that is used again gets another id. */
  id: string;
  name: string;
  runner: Runner;
  /** The host group that it was launched in (Slicer's word). */
  group?: string;
  /** How to start it; absent for a VM that something else runs. */
  launch?: LaunchOptions;
  /** Where the host looks for the process of a VM that something else has started. */
  adopted?: Adoption;
  /** What its guest is called on the host kernel's AF_VSOCK: 3 and up, no two VMs alike. Counts while its process is seen. */
  cid?: number;
  /** Milliseconds since 1970. */
  createdAt: number;
}

/**
 * What tells which process has a VM. `uds`: it listens on that hybrid vsock's socket. `qmp`: it listens on that socket of
 * QEMU's monitor. `libvirt`: the system's libvirt says so of the domain. `pid`: somebody who may has said so.
 */
export type Adoption =
  | { by: "uds"; path: string }
  | { by: "qmp"; path: string }
  | { by: "libvirt"; domain: string }
  | { by: "pid" };

/** The host user that a VM runs as: the only one besides root who may reach its sockets. */
export interface Runner {
  uid: number;
  gid: number;
}

/**
 * A disk image and how its bytes are to be read. The format is decided once, when the VM is made and before its guest
 * has run (`diskFormat` of #vmm/disk): a guest owns the bytes of a raw disk and could make them look like a qcow2 image
 * that names a file of the host.
 */
export interface Disk {
  path: string;
  format: "raw" | "qcow2";
}

/** Absent paths mean the project's own minimal guest. All paths are absolute. */
export interface LaunchOptions {
  kernel?: string;
  initrd?: string;
  disk?: Disk;
  memoryMiB: number;
  cpus: number;
  /** Added to the kernel's command line. */
  append?: string;
  /** Its secrets come by TLS over a network of QEMU's own; absent, by virtio-serial. */
  channel?: "tcp";
  firmware?: FirmwareOptions;
  /** The secrets are on a disk in memory that the guest can only read, as they are at its boot. */
  secretsDisk?: SecretsDisk;
  share?: ShareOptions;
  enrol?: EnrolOptions;
}

/** The secrets are in a folder that the guest mounts, and follow every change while it runs. */
export interface ShareOptions {
  by: "9p" | "virtiofs";
  form: ShareForm;
}

/** The guest has to enrol, with a token that each start puts into the machine's firmware. */
export interface EnrolOptions {
  by: FirmwareOptions["kind"];
  /** For how many boots a token may be used besides the first. */
  reboots: number;
}

/** A file system, or the bundle sealed to a key that the machine's firmware has (fw_cfg), for the agent alone. */
export type SecretsDisk = "erofs" | "squashfs" | "iso" | "sealed";

/** The secrets are in the machine's firmware from its boot on, as they are at that moment. */
export interface FirmwareOptions {
  kind: "fw-cfg" | "smbios";
  /** systemd takes a credential for each secret, the agent all as one. */
  reader: "agent" | "systemd";
  /** Secrets whose names systemd itself acts on are meant. */
  allowReserved: boolean;
}

/** Of a VM that does not say. */
export const DEFAULT_MACHINE: Pick<LaunchOptions, "memoryMiB" | "cpus"> = { memoryMiB: 256, cpus: 1 };

/**
 * What the host knows of a VM's secrets. `applied` is what the guest says, so it is a claim by somebody who is not
 * trusted: bounded, never ahead of what was disclosed, and never going back within a generation.
 */
export interface Convergence {
  /** Counts the boots that the host saw. */
  generation: number;
  /** Counts what this VM was to have, from 1; 0 before anything was resolved. */
  wanted: number;
  /** The newest counter whose bundle left for this generation. */
  disclosed: number;
  applied?: Receipt;
  /** When the guest last asked, in milliseconds since 1970. */
  lastContact?: number;
  /** Whether a process in the guest has claimed the API in this generation. */
  claimed: boolean;
  /** Of a VM that enrols. */
  enrolment?: Enrolment;
  alarms: Alarm[];
}

/** Whether the guest has said that it has all that it is to have. */
export function isSynced({ wanted, applied }: Convergence): boolean {
  return applied?.counter === wanted && applied.outcome === "applied" && applied.refused.length === 0;
}

/**
 * How the token of a VM's boot stands: nobody has used it; a guest has; or it is of no more use, since the VM has booted more
 * often than it is for. `reboots`: for how many boots it may be used besides this one.
 */
export interface Enrolment {
  state: "waiting" | "enrolled" | "spent";
  reboots: number;
}

/** What the guest said of one revision. */
export interface Receipt {
  counter: number;
  outcome: "applied" | "failed";
  /** When it was told, in milliseconds since 1970. */
  at: number;
  /** Secrets that the guest could not install, each with its reason (printable ASCII, capped). */
  refused: { name: string; reason: string }[];
  /** What holds the files there: "tmpfs", "tmpfs,noswap" or "ramfs". */
  mount: string;
  agent: string;
}

/** Something that a well-behaved guest does not do. */
export interface Alarm {
  /** Milliseconds since 1970, of the newest. */
  at: number;
  what:
    | "second claim"
    | "wrong claim key"
    | "wrong enrolment"
    | "second enrolment"
    | "receipt for a revision that was not disclosed"
    | "too many requests";
  count: number;
}
