import { test } from "vitest";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { authorise, type Operation, type Policy } from "#vault/authorise";

const operations = [
  "admin.enter",
  "daemon.logs",
  "secret.create",
  "secret.update",
  "secret.set",
  "secret.rollback",
  "secret.rename",
  "secret.remove",
  "secret.read",
  "secret.list",
  "vm.create",
  "vm.remove",
  "vm.read",
  "vm.list",
  "vm.boot",
  "vm.start",
  "vm.stop",
  "grant.attach",
  "grant.detach",
  "grant.unpin",
  "grant.list",
  "bundle.resolve",
  "bundle.export",
  "secret.disclose",
  "secret.compare",
  "secret.export",
  "store.bind",
  "vm.claim",
  "vm.enrol",
  "vm.token",
  "vm.receipt",
  "vm.push",
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
] as const satisfies Operation[];

// An operation that is missing above does not compile.
const complete: Operation extends (typeof operations)[number] ? true : false = true;

const session: Policy = { mode: "session", uid: 1000 };
const system: Policy = { mode: "system" };
const unix = (uid: number): Caller => ({ kind: "unix", uid, gid: uid, pid: 9 });
const vm = (proven: boolean): Caller => ({ kind: "vm", vmId: "a", channel: "vsock", proven });
const runner: Caller = { kind: "runner", uid: 65534, vmId: "a" };

function verdict(policy: Policy, caller: Caller, operation: Operation, vmId?: string): string {
  try {
    authorise(policy, caller, operation, vmId === undefined ? {} : { vmId, vm: "web-1" });
    return "yes";
  } catch (error) {
    if (error instanceof HatchwayError) return error.code;
    throw error;
  }
}

/** The operations that end in something else than "forbidden", with what they end in. */
function allowed(policy: Policy, caller: Caller, vmId?: string): Record<string, string> {
  const all = operations.map((operation) => [operation, verdict(policy, caller, operation, vmId)] as const);
  return Object.fromEntries(all.filter(([, code]) => code !== "forbidden"));
}

const everything = Object.fromEntries(operations.map((operation) => [operation, "yes"]));

test("its own user, root and the process itself may do everything in a session", ({ expect }) => {
  expect(complete).toBe(true);
  expect(allowed(session, unix(1000))).toEqual(everything);
  expect(allowed(session, unix(0))).toEqual(everything);
  expect(allowed(session, { kind: "embedded", uid: 1000, purpose: "test" })).toEqual(everything);
});

test("another user may do nothing in a session", ({ expect }) => {
  for (const uid of [1001, 65534, 4_294_967_295]) expect(allowed(session, unix(uid), "a")).toEqual({});
});

test("whoever can open the socket may do everything in a system but reach for the keys, which is root's", ({
  expect,
}) => {
  const keys = ["key.way.add", "key.way.remove", "key.retire", "key.backup"];
  const roots = new Set<string>([...keys, "secret.compare", "secret.export", "store.bind"]);
  const his = Object.fromEntries(Object.entries(everything).filter(([operation]) => !roots.has(operation)));
  expect(allowed(system, unix(1001))).toEqual(his);
  expect(allowed(system, unix(0))).toEqual(everything);
});

test("a file of the plain folder says what its secret is, and no more", ({ expect }) => {
  const its = ["secret.set", "secret.remove", "secret.read", "secret.list", "secret.compare", "store.bind"];
  const yes = Object.fromEntries(its.map((operation) => [operation, "yes"]));
  for (const policy of [session, system]) {
    expect(allowed(policy, { kind: "folder", path: "/s/.secrets/db" })).toEqual(yes);
  }
});

test.for([session, system])("a runner sees what is his vm's, and no other ($mode)", (policy, { expect }) => {
  const his = { "vm.read": "yes", "grant.list": "yes", "bundle.resolve": "yes", "secret.disclose": "yes" };
  expect(allowed(policy, runner, "a")).toEqual(his);
  expect(allowed(policy, runner, "b")).toEqual({});
  expect(allowed(policy, runner)).toEqual({});
});

test.for([session, system])("a guest that has proven itself fetches and confirms ($mode)", (policy, { expect }) => {
  const its = {
    "bundle.resolve": "yes",
    "secret.disclose": "yes",
    "vm.claim": "yes",
    "vm.enrol": "yes",
    "vm.receipt": "yes",
  };
  expect(allowed(policy, vm(true), "a")).toEqual(its);
  expect(allowed(policy, vm(true), "b")).toEqual({});
  expect(allowed(policy, vm(true))).toEqual({});
});

test.for([session, system])("a guest that has not may only claim ($mode)", (policy, { expect }) => {
  const no = "unauthenticated";
  const its = { "bundle.resolve": no, "secret.disclose": no, "vm.claim": "yes", "vm.enrol": "yes", "vm.receipt": no };
  expect(allowed(policy, vm(false), "a")).toEqual(its);
  expect(allowed(policy, vm(false), "b")).toEqual({});
});
