import { describeCaller, type Caller } from "#caller";
import { HatchwayError } from "#error";
import type { RoleGrant, Scope } from "#role";
import { permit, scopesOf } from "#vault/roles";

/** What can be asked of the vault; also the audit's words. */
export type Operation =
  | "admin.enter"
  | "daemon.logs"
  | "secret.create"
  | "secret.update"
  | "secret.set"
  | "secret.rollback"
  | "secret.rename"
  | "secret.remove"
  | "secret.read"
  | "secret.list"
  | "vm.create"
  | "vm.remove"
  | "vm.read"
  | "vm.list"
  | "vm.boot"
  | "vm.start"
  | "vm.stop"
  | "grant.attach"
  | "grant.detach"
  | "grant.unpin"
  | "grant.list"
  | "bundle.resolve"
  | "bundle.export"
  | "secret.disclose"
  | "secret.compare"
  | "secret.export"
  | "store.bind"
  | "vm.claim"
  | "vm.enrol"
  | "vm.token"
  | "vm.receipt"
  | "vm.push"
  | "audit.read"
  | "audit.verify"
  | "key.status"
  | "key.way.add"
  | "key.way.remove"
  | "key.rotate"
  | "key.rewrap"
  | "key.retire"
  | "key.backup"
  | "backup.make"
  | "backup.restore"
  | "key.seal"
  | "key.unseal";

/** What an operation is about, for the authorisation and the audit. */
export interface Subject {
  secret?: string;
  vm?: string;
  vmId?: string;
  version?: number;
  /** All of the secrets that are to be attached, where it is more than one. */
  secrets?: readonly string[];
  /** The uid that a new VM is to run as, and the host group that it comes from. */
  runner?: number;
  group?: string;
  /** It reaches VMs of any name. */
  everyVm?: boolean;
  /** A way to the root key, by name. */
  way?: string;
}

/**
 * Who may administrate: one user and root, or whoever can open the socket, which the kernel decides by its mode, and
 * whoever has a right token or certificate. Where there are `roles`, only they count, but for root and that one user.
 */
export type Policy = ({ mode: "session"; uid: number } | { mode: "system" }) & { roles?: readonly RoleGrant[] };

/**
 * Whoever may do these can get at every value, so that no role is enough: on a machine's daemon they are root's, not
 * those of whoever may open the socket, and in a session its user's.
 */
const ownerOperations = new Set<Operation>([
  "key.way.add",
  "key.way.remove",
  "key.retire",
  "key.backup",
  "secret.compare",
  "secret.export",
  "store.bind",
]);
const folderOperations = new Set<Operation>([
  "secret.set",
  "secret.remove",
  "secret.read",
  "secret.list",
  "secret.compare",
  "store.bind",
]);
const guestOperations = new Set<Operation>(["bundle.resolve", "secret.disclose", "vm.receipt"]);
const runnerOperations = new Set<Operation>(["vm.read", "grant.list", "bundle.resolve", "secret.disclose"]);
const EVERYTHING: readonly Scope[] = [{ role: "admin", secrets: "*", vms: "*" }];

/** Throws unless `caller` may do `operation` on `subject`. */
export function authorise(policy: Policy, caller: Caller, operation: Operation, subject: Subject): void {
  const refused = refusalOf(policy, caller, operation, subject);
  if (refused) throw refused;
}

/** Why `caller` may not do `operation` on `subject`; undefined where he may. */
export function refusalOf(
  policy: Policy,
  caller: Caller,
  operation: Operation,
  subject: Subject,
): HatchwayError | undefined {
  switch (caller.kind) {
    case "embedded":
      return undefined;
    case "unix":
    case "token":
    case "certificate": {
      if (policy.mode === "session" && !policy.roles && caller.kind === "unix" && !isOwner(policy, caller)) {
        return forbidden(`uid ${caller.uid} may not administrate the secrets of uid ${policy.uid}`);
      }
      // Who is known may come in; what he may do there is asked for each operation.
      if (operation === "admin.enter") return undefined;
      if (ownerOperations.has(operation) && !(caller.kind === "unix" && isOwner(policy, caller))) {
        const owner = policy.mode === "system" ? "root" : `uid ${policy.uid}`;
        return forbidden(`${operation} is ${owner}'s to do, not ${describeHolder(caller)}'s`);
      }
      if (operation === "key.unseal" && caller.kind !== "unix") {
        return forbidden("the keys are opened on the daemon's own machine, over its socket");
      }
      if (permit(scopes(policy, caller), caller, operation, subject)) return undefined;
      return forbidden(`no role of ${describeHolder(caller)} allows ${operation}${describeSubject(subject)}`);
    }
    case "stranger":
      return new HatchwayError("unauthenticated", "the request has no right token or certificate", {
        hint: "send the token as: Authorization: Bearer TOKEN",
      });
    case "folder":
      if (folderOperations.has(operation)) return undefined;
      return forbidden("a file may only say what its own secret is");
    case "runner":
      if (runnerOperations.has(operation) && subject.vmId === caller.vmId) return undefined;
      return forbidden("the runner of a vm may only see what is that vm's");
    case "vm":
      if (subject.vmId !== caller.vmId) break;
      if (operation === "vm.claim" || operation === "vm.enrol") return undefined;
      if (!guestOperations.has(operation)) break;
      if (caller.proven) return undefined;
      return new HatchwayError("unauthenticated", "claim first: this process has not shown that it may fetch");
  }
  return forbidden("not for a guest");
}

/** The roles that a caller has, by the configuration or because there are none in it. */
export function scopes(policy: Policy, caller: Caller): readonly Scope[] {
  switch (caller.kind) {
    case "embedded":
      return EVERYTHING;
    case "unix":
      if (isOwner(policy, caller) || (!policy.roles && policy.mode === "system")) return EVERYTHING;
      return scopesOf(policy.roles ?? [], caller);
    case "token":
    case "certificate":
      return policy.roles ? scopesOf(policy.roles, caller) : EVERYTHING;
    case "folder":
    case "stranger":
    case "runner":
    case "vm":
      return [];
  }
}

/** Root, whom nothing here could keep from anything, and the user whose session it is. */
function isOwner(policy: Policy, { uid }: Caller & { kind: "unix" }): boolean {
  return uid === 0 || (policy.mode === "session" && uid === policy.uid);
}

function forbidden(message: string): HatchwayError {
  const hint = message.startsWith("no role") ? { hint: "see your roles with: hatchway whoami" } : {};
  return new HatchwayError("forbidden", message, hint);
}

function describeHolder(caller: Caller): string {
  return caller.kind === "unix" ? `uid ${caller.uid}` : describeCaller(caller);
}

function describeSubject({ secret, vm }: Subject): string {
  const secretWords = secret === undefined ? "" : ` of secret "${secret}"`;
  return vm === undefined ? secretWords : `${secretWords} ${secret === undefined ? "of" : "for"} vm "${vm}"`;
}
