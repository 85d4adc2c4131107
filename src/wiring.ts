// How a VMM that is not Hatchway's to start is told of a way into its guest: the nouns that src/vmm/'s wirers, the API
// and the command line share. Nothing here holds a value: files and sockets are named, and what is in them is not read.

export const VMMS = ["qemu", "firecracker", "cloud-hypervisor", "libvirt", "vmspawn", "microvm.nix"] as const;
export type VmmName = (typeof VMMS)[number];

/** The ways into a guest that a VMM can be told of. */
export const WIRED = [
  "virtio-serial",
  "vsock",
  "fw-cfg",
  "smbios",
  "disk",
  "9p",
  "virtiofs",
  "smb",
  "tcp",
  "af-vsock",
] as const;
export type WiredChannel = (typeof WIRED)[number];

/**
 * Those whose host end is a socket that the daemon listens on for this VM; the others are a file that the VMM reads at its
 * start, for tcp the guest's certificate, or a folder that it shares.
 */
export function isLive(channel: WiredChannel): channel is "virtio-serial" | "vsock" {
  return channel === "virtio-serial" || channel === "vsock";
}

/** Of a program: 7.2.22. */
export interface Version {
  major: number;
  minor: number;
  patch: number;
}

export function isAtLeast(version: Version, major: number, minor: number, patch = 0): boolean {
  if (version.major !== major) return version.major > major;
  return version.minor === minor ? version.patch >= patch : version.minor > minor;
}

/** The first number with a dot in `text`, as `--version` of a program prints it; undefined where there is none. */
export function parseVersion(text: string): Version | undefined {
  const [, major, minor, patch] = /(?<![\d.])(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?/.exec(text) ?? [];
  if (major === undefined) return undefined;
  return { major: Number(major), minor: Number(minor), patch: Number(patch ?? "0") };
}

export function formatVersion({ major, minor, patch }: Version): string {
  return `${major}.${minor}.${patch}`;
}

export interface WiringRequest {
  channel: WiredChannel;
  /** Absolute paths of the sockets that the daemon listens on: for vsock without `_5107`. */
  sockets: Readonly<Record<"virtio-serial" | "vsock", string>>;
  /** Absolute path of the file that a channel which is none of a socket brings; of the folder, for what shares one. */
  file: string | undefined;
  /** Files of fw_cfg, for that channel: a whole bundle in one, or one for each secret; for tcp the guest's certificate. */
  firmware: readonly { name: string; file: string }[];
  /** What stands before the bundle's base64 in a string of SMBIOS. */
  oemPrefix: string;
  /** What the guest is called on the AF_VSOCK of the host's kernel, where it has such a number. */
  cid: number | undefined;
  /** Of the guest. */
  memoryMiB: number;
  /** QEMU's, where it is known. */
  qemu: Version | undefined;
}

/** Why a VMM can't bring a channel, and what to do instead. */
export interface Unfit {
  reason: string;
  instead: string;
}

export interface Wiring {
  /** The same thing in each language that the VMM takes, the usual one first. */
  forms: Form[];
  /** What its user has to know or to run besides. */
  notes: string[];
}

export const FORMS = ["arguments", "api", "config", "xml", "environment", "nix"] as const;
export type FormName = (typeof FORMS)[number];

export interface Form {
  name: FormName;
  /** What it is, and where it goes. */
  what: string;
  /** Whole lines, without a newline at the end. */
  text: string;
  /** Of "arguments": the same, word by word, as they are without a shell. */
  words?: string[];
}

/** How one VMM is told. */
export interface Wirer {
  vmm: VmmName;
  /** How sure it is that the VMM takes what is written: what a test has run it with. */
  proof: string;
  /** Undefined where it can be told; what depends on QEMU's version counts as told where that is not known. */
  refusal(channel: WiredChannel, qemu: Version | undefined): Unfit | undefined;
  /** How many files of fw_cfg it takes; undefined where no limit is below the channel's own. */
  maxFirmwareFiles?: number;
  /** Exact, and without a value. For what `refusal` refuses, or without its file, throws HatchwayError "invalid". */
  wire(request: WiringRequest): Wiring;
}
