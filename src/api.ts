// The JSON bodies of the admin API, as the server answers and the client reads them. The secret shapes are Slicer's,
// with more fields; times are RFC 3339 in UTC.
import type { VmState } from "#api-vm";
import type { OnChange } from "#protocol/manifest";

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

export interface ErrorBody {
  error: string;
  code: string;
  hint?: string;
}

/** `POST /restore` */
export interface RestoredBody {
  /** The names of the secrets. */
  restored: string[];
}
