// The JSON bodies of what the admin API says of VMs: see api.ts.
import type { ChannelKind } from "#channel";
import type { FormName, VmmName, WiredChannel } from "#wiring";
import type { DeliveryBody } from "./api.ts";

/** `PUT /vms/NAME/secrets/SECRET` */
export interface AttachRequest extends DeliveryBody {
  /** Keep the version that is current now, until `DELETE /vms/NAME/secrets/SECRET/pin`. */
  pin?: boolean;
}

/** One element of a VM's `secrets`: a name, or a name and how it is delivered there. */
export type GrantRequestBody = string | ({ name: string } & AttachRequest);

/** `POST /vms`, with `?launch=true` to start it and `?wait=agent&timeout=30s` to wait for its first receipt. */
export interface VmRequestBody {
  name: string;
  /** Absent: the host's setting `attach`; []: none. */
  secrets?: GrantRequestBody[];
  /** False: without those that are for every new VM. True where absent, unless `secrets` is []. */
  default_secrets?: boolean;
  /** A user name or uid of the host; the caller's own when absent. */
  runner?: string | number;
  launch?: LaunchBody;
  /** What its guest is called on the host kernel's AF_VSOCK, from 3 on; not together with `launch`. */
  cid?: number;
  /** It runs already, started by something else; not together with `launch`. The runner is whose its process is. */
  adopt?: AdoptBody;
}

/** One of the first four, which tells the host where to look for the VM's process. */
export interface AdoptBody {
  /** The socket of a hybrid vsock that its VMM listens on; secrets go that way. */
  uds?: string;
  /** QEMU's monitor; the guest gets a virtio-serial port. */
  qmp?: string;
  /** A domain of the host's libvirt; its guest gets a virtio-serial port. */
  libvirt?: string;
  /** The process, until it ends. */
  pid?: number;
  /** What the guest is called on the host kernel's AF_VSOCK, besides. */
  cid?: number;
}

/** `POST /vms/NAME/process` */
export interface ProcessRequest {
  pid: number;
}

/** The first where nothing is said. */
export type LaunchChannel = "virtio-serial" | "tcp";

export interface LaunchBody {
  kernel?: string;
  initrd?: string;
  disk?: string;
  memory_mib?: number;
  cpus?: number;
  append?: string;
  /** How its secrets come while it runs; "tcp" gives it a network, and a certificate at each start. */
  channel?: LaunchChannel;
  /** Puts the secrets into the machine's firmware at each start. */
  firmware?: FirmwareBody;
  /** Gives the machine a disk with the secrets, in memory and read-only, at each start. Not together with `firmware`. */
  secrets_disk?: "erofs" | "squashfs" | "iso" | "sealed";
  /** Its guest has to enrol, with a token that each start puts into the firmware. Not together with the others. */
  enrol?: EnrolBody;
  /** Shares a folder with the secrets, by the tag "hatchway", and keeps it up to date. Not together with the two above. */
  share?: ShareBody;
}

export interface ShareBody {
  by: "9p" | "virtiofs";
  /** "sealed", where it is absent: one age file, whose key is in the firmware. */
  form?: "sealed" | "plain";
}

export interface EnrolBody {
  by: "fw-cfg" | "smbios";
  /** For how many boots a token may be used besides the first. */
  reboots: number;
}

/** What the agent's own words begin with, in names of fw_cfg (docs/specs/fw_cfg of QEMU) and in strings of SMBIOS. */
export const FW_CFG_WORD = "opt/org.hatchway/";
export const SMBIOS_WORD = "org.hatchway.";

/** `POST /vms/NAME/token` */
export interface TokenRequest {
  /** For how many boots the token may be used besides the first. */
  reboots?: number;
}

export interface FirmwareBody {
  kind: "fw-cfg" | "smbios";
  /** "agent", where it is absent; "systemd" gets a credential for each secret. */
  reader?: "agent" | "systemd";
  /** Also secrets whose names systemd itself acts on. */
  allow_reserved?: boolean;
}

export type VmState = "defined" | "running" | "stopped" | "failed";

export interface VmBody {
  name: string;
  id: string;
  state: VmState;
  /** The host group that it was launched in. */
  group?: string;
  /** Why it is `failed`, or how it ended; one line. */
  reason?: string;
  runner: { uid: number; gid: number; name?: string };
  created_at: string;
  /** Names of the secrets attached, sorted. */
  secrets: string[];
  pid?: number;
  accelerator?: "kvm" | "tcg";
  /** Why not kvm, where it is tcg. */
  accelerator_reason?: string;
  launch?: LaunchBody;
  /** Where the host looks for the process of a VM that something else has started; `pid` is null. */
  adopted?: { uds: string } | { qmp: string } | { libvirt: string } | { pid: null };
  cid?: number;
  /** What of an adopted VM could not be done. */
  problem?: { message: string; hint?: string };
  channels: { kind: ChannelKind; path: string }[];
  control_socket: string;
  /** The socket of the minimal guest's shell port, while it runs. */
  shell_socket?: string;
  convergence: ConvergenceBody;
}

export interface ConvergenceBody {
  generation: number;
  wanted: number;
  applied?: number;
  /** The guest has said that it has what it is to have, all of it. */
  in_sync: boolean;
  applied_at?: string;
  outcome?: "applied" | "failed";
  refused: { name: string; reason: string }[];
  mount?: string;
  agent?: string;
  last_contact?: string;
  /** Of a VM that enrols: nobody has used its token, a guest has, or it is of no more use; boots that it is still for. */
  enrolment?: { state: "waiting" | "enrolled" | "spent"; reboots: number };
  alarms: { at: string; what: string; count: number }[];
}

/** `GET /vms/NAME/secrets`, and what attaching answers. */
export interface GrantBody {
  name: string;
  /** The one that the VM is to have. */
  version: number;
  /** It keeps that version; the secret's newest is `newest`. */
  pinned?: true;
  newest?: number;
  size: number;
  delivery: "file" | "env" | "file+env";
  permissions: string;
  uid: number;
  gid: number;
  owner?: string;
  group?: string;
  path?: string;
  env?: string;
  link?: string;
  attached_at: string;
}

/** The query of `GET /vms/NAME/arguments` and `GET /vms/NAME/channels`. */
export interface WiringQuery {
  /** qemu, where it is absent. */
  vmm?: VmmName;
  channel?: WiredChannel;
  /** The version of QEMU, such as 7.2.22; that of the host's where it is absent. */
  qemu?: string;
  /** Absolute path of what fw-cfg, smbios, disk or tcp bring; for fw-cfg and systemd a folder with the unpacked bundle. */
  file?: string;
  guest?: "systemd" | "other";
  /** The guest's version of systemd. */
  systemd?: string;
  memory_mib?: string;
  /** Names that systemd acts on as root are meant. */
  allow_reserved?: "true";
}

/** `GET /vms/NAME/arguments`: what a VMM that is not Hatchway's to start is told. No value is in it. */
export interface ArgumentsBody {
  vmm: VmmName;
  /** The version of QEMU that it is for, where that counts and is known. */
  qemu?: string;
  channel: WiredChannel;
  /** Of smbios for the agent: what stands in the file before the base64 of the bundle's tar. */
  oem_prefix?: string;
  /** The same in each language that the VMM takes, the usual one first. */
  forms: { name: FormName; what: string; text: string; words?: string[] }[];
  notes: string[];
}

/** `GET /vms/NAME/channels`: every way into the VM, in the order in which one is chosen. */
export interface ChannelsBody {
  vm: string;
  vmm: VmmName;
  qemu?: string;
  guest: "systemd" | "other";
  systemd?: number;
  /** How many it has, and the bytes of their values. */
  secrets: number;
  bytes: number;
  channels: ChannelBody[];
}

export interface ChannelBody {
  name: string;
  /** Whether this version of Hatchway has it. */
  built: boolean;
  fits: boolean;
  /** The one that is taken where nothing is said. */
  chosen: boolean;
  /** Why it does not fit, and the way out. */
  reason?: string;
  instead?: string;
  how: string;
  measures: { what: string; size: number; limit: number }[];
  /** What of this VM's secrets it does not bring. */
  lost: string[];
  needs?: string;
  guest_readers?: string;
  host_readers?: string;
  fresh?: string;
}

/** `POST /vms/NAME/image`: answers the bytes of the image. */
export interface ImageRequest {
  format: "erofs" | "squashfs" | "iso" | "tar";
  /** HATCHWAY, where it is absent; SquashFS and tar have none. */
  label?: string;
  /** Whom to seal it to: a recipient of age. It is open where this is absent. */
  recipient?: string;
  /** What the caller has already: the answer is then 204 if it still is the VM's revision after `wait` seconds (0 to 60). */
  have?: string;
  wait?: number;
}

/** `POST /vms/NAME/push`: a revision, which `/vms/NAME/image` gave, is in force in the guest. Answers the VM. */
export interface PushRequest {
  /** Of the bundle's manifest. */
  revision: string;
  /** What holds the files there: "tmpfs", "tmpfs,noswap" or "ramfs". */
  mount: string;
}

/** The header of an image's answer that says of which revision it is. */
export const REVISION_HEADER = "hatchway-revision";

/** `POST /hostgroup/NAME/nodes`, Slicer's way to launch a VM: with all secrets where the list is absent, [] with none. */
export interface NodeRequestBody {
  secrets?: string[];
  ram_bytes?: number;
  cpus?: number;
}

/** `GET /nodes`, `GET /hostgroup/NAME/nodes`, and what creating one answers. */
export interface NodeBody {
  hostname: string;
  /** Absent for a VM that was not launched in a group. */
  hostgroup?: string;
  ram_bytes?: number;
  cpus?: number;
  arch: string;
  status: "Running" | "Stopped";
  created_at: string;
}

/** `GET /hostgroup` */
export interface HostGroupBody {
  name: string;
  /** How many VMs it has. */
  count: number;
  ram_bytes: number;
  cpus: number;
  arch: string;
}
