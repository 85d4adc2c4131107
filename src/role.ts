/** What somebody may do, from most to least. What each allows is in src/vault/roles.ts. */
export const ROLES = ["admin", "operator", "reader", "runner"] as const;
export type Role = (typeof ROLES)[number];

/** Who has a role: a user or group of the host, a bearer token, or the name in a client certificate. */
export type Holder =
  | { kind: "uid"; uid: number }
  | { kind: "gid"; gid: number }
  | { kind: "token"; id: string }
  | { kind: "certificate"; name: string };

/** A role over the secrets and the VMs whose names match; `*` in a pattern stands for any run of characters. */
export interface Scope {
  role: Role;
  secrets: string;
  vms: string;
}

export interface RoleGrant extends Scope {
  holder: Holder;
}

/** What can be asked about beforehand: of a secret, of a VM, of both, or of the daemon where it is of neither. */
export const VERBS = [
  "create",
  "read",
  "update",
  "rollback",
  "rename",
  "remove",
  "start",
  "stop",
  "export",
  "attach",
  "detach",
  "unpin",
  "logs",
  "audit",
  "rotate",
  "rewrap",
  "retire",
  "seal",
  "unseal",
  "backup",
] as const;
export type Verb = (typeof VERBS)[number];

export interface Verdict {
  allowed: boolean;
  /** Why not. */
  reason?: string;
}
