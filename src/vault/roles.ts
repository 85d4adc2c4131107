// What each role allows, as tables; src/vault/authorise.ts asks them and nothing else does.
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import type { Role, RoleGrant, Scope, Verb } from "#role";
import type { Operation, Subject } from "#vault/authorise";

const READER: readonly Operation[] = [
  "secret.read",
  "secret.list",
  "vm.read",
  "vm.list",
  "grant.list",
  "bundle.resolve",
];
const RUNNER: readonly Operation[] = ["vm.read", "vm.list", "grant.list", "bundle.resolve", "vm.start", "vm.stop"];
const OPERATOR: readonly Operation[] = [
  ...READER,
  "secret.update",
  "secret.rollback",
  "secret.rename",
  "vm.create",
  "vm.remove",
  "vm.start",
  "vm.stop",
  "vm.token",
  "grant.attach",
  "grant.detach",
  "grant.unpin",
];
/** What is of the daemon is in no pattern: only an admin of everything does this. */
const DAEMON: ReadonlySet<Operation> = new Set<Operation>([
  "daemon.logs",
  "audit.read",
  "audit.verify",
  "key.status",
  "key.way.add",
  "key.way.remove",
  "key.rotate",
  "key.rewrap",
  "key.retire",
  "key.backup",
  "backup.make",
  "backup.restore",
  "key.seal",
  "key.unseal",
]);

/** An admin has no table: all that is of a secret or a VM. */
const allowed: Record<Exclude<Role, "admin">, ReadonlySet<Operation>> = {
  operator: new Set(OPERATOR),
  reader: new Set(READER),
  runner: new Set(RUNNER),
};

/** The roles of a caller. */
export function scopesOf(grants: readonly RoleGrant[], caller: Caller): Scope[] {
  return grants.filter(({ holder }) => {
    switch (holder.kind) {
      case "uid":
        return caller.kind === "unix" && caller.uid === holder.uid;
      case "gid":
        return caller.kind === "unix" && (caller.gid === holder.gid || caller.groups?.includes(holder.gid) === true);
      case "token":
        return caller.kind === "token" && caller.id === holder.id;
      case "certificate":
        return caller.kind === "certificate" && caller.name === holder.name;
    }
  });
}

/** Whether the scopes allow an operation on all that it is about: for each secret one that covers it with the VM. */
export function permit(scopes: readonly Scope[], caller: Caller, operation: Operation, subject: Subject): boolean {
  const secrets = subject.secrets ?? (subject.secret === undefined ? [] : [subject.secret]);
  const about = secrets.length === 0 ? [undefined] : secrets;
  return about.every((secret) => scopes.some((scope) => covers(scope, caller, operation, { ...subject, secret })));
}

function covers(
  scope: Scope,
  caller: Caller,
  operation: Operation,
  {
    secret,
    vm,
    vmId,
    runner,
    group,
    everyVm,
  }: Pick<Subject, "vm" | "vmId" | "runner" | "group" | "everyVm"> & { secret: string | undefined },
): boolean {
  const { role, secrets, vms } = scope;
  if (role === "admin" && secrets === "*" && vms === "*") return true;
  if (DAEMON.has(operation)) return false;
  if (role !== "admin" && !allowed[role].has(operation)) return false;
  if (secret !== undefined && !matches(secrets, secret)) return false;
  if (vm !== undefined && !matches(vms, vm)) return false;
  // A VM whose name is not known, since it is gone, is in no pattern but that of all.
  if (vm === undefined && vmId !== undefined && vms !== "*") return false;
  if (everyVm === true && vms !== "*") return false;
  // A VM reads its disk and kernel as its runner: one of another user would show that user's files.
  if (operation !== "vm.create" || runner === undefined || group !== undefined) return true;
  return caller.kind === "unix" && caller.uid === runner;
}

/** Whether a name fits a pattern, in which `*` is any run of characters. */
export function matches(pattern: string, name: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  if (rest.length === 0) return name === first;
  const last = rest.pop() ?? "";
  if (!name.startsWith(first) || name.length < first.length + last.length || !name.endsWith(last)) return false;
  // Leftmost finds are enough, and never go back.
  let at = first.length;
  for (const piece of rest) {
    const found = name.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return at <= name.length - last.length;
}

const ofSecret: Partial<Record<Verb, Operation>> = {
  create: "secret.create",
  read: "secret.read",
  update: "secret.update",
  rollback: "secret.rollback",
  rename: "secret.rename",
  remove: "secret.remove",
};
const ofVm: Partial<Record<Verb, Operation>> = {
  create: "vm.create",
  read: "vm.read",
  remove: "vm.remove",
  start: "vm.start",
  stop: "vm.stop",
  export: "bundle.export",
};
const ofBoth: Partial<Record<Verb, Operation>> = {
  attach: "grant.attach",
  detach: "grant.detach",
  unpin: "grant.unpin",
};
const ofDaemon: Partial<Record<Verb, Operation>> = {
  logs: "daemon.logs",
  audit: "audit.read",
  rotate: "key.rotate",
  rewrap: "key.rewrap",
  retire: "key.retire",
  seal: "key.seal",
  unseal: "key.unseal",
  backup: "key.backup",
};

/** The operation that a question is about. Throws "invalid" for one that has no answer. */
export function operationOf(verb: Verb, { secret, vm }: { secret?: string; vm?: string }): Operation {
  const [what, table] =
    secret !== undefined && vm !== undefined
      ? (["a secret and a vm", ofBoth] as const)
      : secret !== undefined
        ? (["a secret", ofSecret] as const)
        : vm !== undefined
          ? (["a vm", ofVm] as const)
          : (["the daemon", ofDaemon] as const);
  const operation = table[verb];
  if (operation) return operation;
  throw new HatchwayError("invalid", `"${verb}" is not done to ${what}: ${Object.keys(table).join(", ")} is`);
}
