// The JSON bodies of the admin API, as the server answers and the client reads them. The secret shapes are Slicer's,
// with more fields; times are RFC 3339 in UTC.
import type { OnChange } from "#protocol/manifest";
import type { FormName, VmmName, WiredChannel } from "#wiring";

export interface SecretBody {
  name: string;
  /** Bytes of the value. */
  size: number;
  permissions: string;
  /** 0 where `owner` names a guest user instead. */
  uid: number;
  gid: number;
  mod_time: string;
  modified_at: string;
  created_at: string;
  version: number;
  delivery: "file" | "env" | "file+env";
  path?: string;
  env?: string;
  link?: string;
  owner?: string;
  group?: string;
  on_change?: OnChange;
  description?: string;
  labels?: Record<string, string>;
  /** Attached to every new VM whose request does not refuse that. */
  default?: true;
}

/** What is said of a secret, in requests: absent leaves it, null takes a description or one label away. */
export interface AboutBody {
  description?: string | null;
  labels?: Record<string, string | null>;
  default?: boolean;
}

/** How a secret is delivered, in requests: absent leaves as it is, null takes an optional field away. */
export interface DeliveryBody {
  permissions?: string;
  uid?: number;
  gid?: number;
  owner?: string;
  group?: string;
  /** Whether it is a file; true unless only `env` is asked for. */
  file?: boolean;
  path?: string | null;
  env?: string | null;
  link?: string | null;
  on_change?: OnChange | null;
}

/** `POST /secrets`; `PATCH /secrets/NAME` takes the same without `name`. */
export interface SecretRequest extends DeliveryBody, AboutBody {
  name: string;
  /** The value in base64; read from the body as bytes, never as a string. */
  data?: string;
}

/** `DELETE /secrets/NAME` */
export interface SecretRemoved {
  name: string;
  /** VMs that it was attached to: it is taken back from those that run. */
  vms: string[];
}

/** One element of `GET /secrets/NAME/history`, newest first: the versions whose values are kept. */
export interface VersionBody {
  version: number;
  size: number;
  at: string;
  current: boolean;
  /** Names of the VMs that keep it. */
  pinned_by: string[];
}

/** `POST /secrets/NAME/rollback`; absent: the version before the current one. */
export interface RollbackRequest {
  to?: number;
}

/** `POST /secrets/NAME/rename` */
export interface RenameRequest {
  to: string;
}

/** What renaming answers. */
export interface SecretRenamed extends SecretBody {
  /** VMs that have it, and keep its file where it is. */
  vms: string[];
}

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

export interface LaunchBody {
  kernel?: string;
  initrd?: string;
  disk?: string;
  memory_mib?: number;
  cpus?: number;
  append?: string;
  /** Puts the secrets into the machine's firmware at each start. */
  firmware?: FirmwareBody;
  /** Gives the machine a disk with the secrets, in memory and read-only, at each start. Not together with `firmware`. */
  secrets_disk?: "erofs" | "squashfs" | "iso" | "sealed";
  /** Shares a folder with the secrets, by the tag "hatchway", and keeps it up to date. Not together with the two above. */
  share?: ShareBody;
}

export interface ShareBody {
  by: "9p" | "virtiofs";
  /** "sealed", where it is absent: one age file, whose key is in the firmware. */
  form?: "sealed" | "plain";
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
  channels: { kind: "vsock" | "virtio-serial"; path: string }[];
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

/** `GET /whoami` */
export interface WhoamiBody {
  /** As the audit trail names him. */
  caller: string;
  /** What he may do, each over the secrets and VMs whose names match. */
  roles: { role: "admin" | "operator" | "reader" | "runner"; secrets: string; vms: string }[];
}

/** `GET /can?verb=attach&secret=NAME&vm=NAME` */
export interface CanBody {
  allowed: boolean;
  /** Why not. */
  reason?: string;
}

/** `GET /status` */
export interface StatusBody {
  version: string;
  pid: number;
  mode: "system" | "session" | "embedded";
  /** Absolute path of the state folder. */
  state: string;
  socket: string;
  started_at: string;
  store: {
    kind: "sqlite" | "directory";
    epoch: string;
    revision: number;
    /** Of `directory`: its absolute path, and what is ignored, refused or too open there; "" is the folder itself. */
    folder?: string;
    problems?: { name: string; problem: string }[];
  };
  /** Whether the keys are sealed; then what is stored is not known. */
  sealed: boolean;
  secrets?: number;
  vms?: { name: string; state: VmState; wanted: number; applied?: number; in_sync: boolean; last_contact?: string }[];
}

/** `GET /keys` */
export interface KeysBody {
  /** Whether the keys are wiped, and nothing can be read. */
  sealed: boolean;
  /** The name of the way that opened them, where they are not sealed. */
  opened_by?: string;
  ways: WayBody[];
  /** The term that new seals are made under. */
  current: number;
  /** `rows`: how many are sealed under it, old versions of values included. */
  terms: { term: number; created_at: string; rows: number }[];
}

/** The query of `POST /keys/unseal`: of what kind its body is. Without it the ways are tried that ask nobody. */
export interface UnsealQuery {
  by?: "key-file" | "age" | "passphrase" | undefined;
}

/** `POST /keys/unseal` */
export interface UnsealedBody {
  /** The name of the way that opened them. */
  way: string;
}

/** `POST /keys/backup` */
export interface KeyBackupBody {
  /** An age file, in base64. */
  age: string;
}

/** `GET /keys/rewrap` */
export interface RewrapBody {
  state: "idle" | "running" | "done" | "failed";
  /** Rows that were sealed anew. */
  done: number;
  /** Rows that this pass has looked at. */
  seen: number;
  problem?: string;
}

export interface WayBody {
  name: string;
  kind: WayQuery["kind"];
  /** What it takes: a file, a credential's name, a recipient. */
  needs: string;
}

/** The query of `POST /keys/ways/NAME`; a passphrase or a credential's key is its body. */
export interface WayQuery {
  kind: "key-file" | "systemd-credential" | "age" | "passphrase";
  /** Of a key file, if not the usual. */
  path?: string | undefined;
  credential?: string | undefined;
  recipient?: string | undefined;
  /** Path of the file with the age identity. */
  identity?: string | undefined;
}

/** `GET /audit/verify` */
export interface TrailBody {
  files: number;
  lines: number;
  /** The first line that is there: not 1 where old files were taken away. */
  first?: { seq: number; time: string };
  last?: { seq: number; time: string };
}

/** The query of `GET /audit/export`. */
export interface TrailQuery {
  /** RFC 3339. */
  since?: string;
  until?: string;
  /** An operation, or the beginning of several: `secret.*`. */
  op?: string;
  secret?: string;
  vm?: string;
}

/** The query of `GET /vms/NAME/arguments` and `GET /vms/NAME/channels`. */
export interface WiringQuery {
  /** qemu, where it is absent. */
  vmm?: VmmName;
  channel?: WiredChannel;
  /** The version of QEMU, such as 7.2.22; that of the host's where it is absent. */
  qemu?: string;
  /** Absolute path of what fw-cfg, smbios or disk bring; for fw-cfg and systemd a folder with the unpacked bundle. */
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

/** The header of an image's answer that says of which revision it is. */
export const REVISION_HEADER = "hatchway-revision";

export interface ErrorBody {
  error: string;
  code: string;
  hint?: string;
}

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

/** `POST /restore` */
export interface RestoredBody {
  /** The names of the secrets. */
  restored: string[];
}
