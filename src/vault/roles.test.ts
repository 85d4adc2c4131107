import { test } from "vitest";
import type { Caller } from "#caller";
import type { RoleGrant } from "#role";
import { admin, guest, refusal, TestVault } from "#test/kit/vault";
import { refusalOf, type Operation, type Policy } from "#vault/authorise";
import { matches, operationOf } from "#vault/roles";

const token: Caller = { kind: "token", id: "ci" };
const unix = (uid: number): Caller => ({ kind: "unix", uid, gid: 7, pid: 1 });
const runner = { uid: 1000, gid: 1000 };

function policyOf(...roles: (Omit<RoleGrant, "secrets" | "vms"> & Partial<RoleGrant>)[]): Policy {
  return { mode: "session", uid: 1000, roles: roles.map((role) => ({ secrets: "*", vms: "*", ...role })) };
}

const ci = { kind: "token", id: "ci" } as const;

test("a pattern's * is any run of characters, and nothing else is special", ({ expect }) => {
  const good = [
    ["*", "x"],
    ["ci-*", "ci-"],
    ["ci-*", "ci-1"],
    ["*-db", "a-db"],
    ["a*b*c", "abc"],
    ["a*b*c", "a1b2b3c"],
    ["a**c", "ac"],
    ["a.b", "a.b"],
  ] as const;
  const bad = [
    ["ci-*", "ci"],
    ["ci", "ci-1"],
    ["a.b", "axb"],
    ["a*a", "a"],
    ["a*b*c", "acb"],
    ["ab*ba", "aba"],
    ["", "x"],
  ] as const;
  for (const [pattern, name] of good) expect(matches(pattern, name), `${pattern} ${name}`).toBe(true);
  for (const [pattern, name] of bad) expect(matches(pattern, name), `${pattern} ${name}`).toBe(false);
});

function can(role: RoleGrant["role"], operation: Operation): boolean {
  return refusalOf(policyOf({ role, holder: ci }), token, operation, { secret: "a", vm: "v" }) === undefined;
}

test("each role allows what it is for, and no more", ({ expect }) => {
  const table: [Operation, ...RoleGrant["role"][]][] = [
    ["secret.create", "admin"],
    ["secret.set", "admin"],
    ["secret.remove", "admin"],
    ["daemon.logs", "admin"],
    ["audit.read", "admin"],
    ["audit.verify", "admin"],
    ["key.status", "admin"],
    ["key.rotate", "admin"],
    ["key.rewrap", "admin"],
    ["secret.update", "admin", "operator"],
    ["secret.rollback", "admin", "operator"],
    ["secret.rename", "admin", "operator"],
    ["grant.unpin", "admin", "operator"],
    ["grant.attach", "admin", "operator"],
    ["grant.detach", "admin", "operator"],
    ["vm.create", "admin", "operator"],
    ["vm.remove", "admin", "operator"],
    ["vm.start", "admin", "operator", "runner"],
    ["vm.stop", "admin", "operator", "runner"],
    ["vm.read", "admin", "operator", "reader", "runner"],
    ["secret.read", "admin", "operator", "reader"],
    ["secret.disclose", "admin"],
    ["bundle.export", "admin"],
  ];
  for (const [operation, ...roles] of table) {
    const having = (["admin", "operator", "reader", "runner"] as const).filter((role) => can(role, operation));
    expect(having, operation).toEqual(roles);
  }
});

test("what opens the store is its owner's, whatever role another has", ({ expect }) => {
  const roles: Policy[] = [policyOf({ role: "admin", holder: ci }, { role: "admin", holder: { kind: "uid", uid: 5 } })];
  for (const policy of [...roles, { mode: "session", uid: 1000 }, { mode: "system" }] satisfies Policy[]) {
    const owners = [
      "key.way.add",
      "key.way.remove",
      "key.retire",
      "key.backup",
      "secret.export",
      "store.bind",
    ] as const;
    for (const operation of owners) {
      for (const caller of [token, unix(5)]) expect(refusalOf(policy, caller, operation, {})?.code).toBe("forbidden");
      expect(refusalOf(policy, unix(0), operation, {})).toBeUndefined();
      expect(refusalOf(policy, unix(1000), operation, {})?.code).toBe(
        policy.mode === "system" ? "forbidden" : undefined,
      );
    }
  }
});

test("an admin of a pattern has neither the audit trail nor the keys", ({ expect }) => {
  const policy = policyOf({ role: "admin", holder: ci, secrets: "ci-*" });
  for (const operation of ["audit.read", "audit.verify", "key.status", "key.rotate", "key.rewrap"] as const) {
    expect(refusalOf(policy, token, operation, { secret: "ci-a" })?.code, operation).toBe("forbidden");
  }
});

test("a bundle leaves as an image only for who has a right to the vm and to all that it has, with a line for each value", async ({
  expect,
}) => {
  const ways: [secrets: string, vms: string, code: string][] = [
    ["*", "*", "undefined"],
    ["ci-*", "ci-*", "undefined"],
    ["ci-a", "ci-*", "forbidden"],
    ["*", "web-*", "forbidden"],
  ];
  for (const [secrets, vms, code] of ways) {
    await using made = await TestVault.open({ policy: policyOf({ role: "admin", holder: ci, secrets, vms }) });
    for (const name of ["ci-a", "ci-b"]) await made.set(name, "v");
    await made.vm("ci-1", "ci-a", "ci-b");
    const leaving = made.vault.export(token, "ci-1").then(async (bundle) => {
      const open = await bundle.disclose(bundle.manifest.entries);
      return Promise.all(bundle.manifest.entries.map(open));
    });
    const seen = code === "undefined" ? String((await leaving).length) : await refusal(leaving);
    expect([secrets, vms, seen]).toEqual([secrets, vms, code === "undefined" ? "2" : code]);
    const lines = (await made.audit()).filter(({ caller, op }) => caller === "token:ci" && op !== "secret.disclose");
    const outcomes = lines.map(({ op, secret, version, outcome }) => `${op} ${secret} ${version} ${outcome}`);
    const denied = `${vms === "web-*" ? "vm.read" : "bundle.export"} undefined undefined forbidden`;
    expect(outcomes).toEqual(code === "undefined" ? ["bundle.export ci-a 1 ok", "bundle.export ci-b 1 ok"] : [denied]);
  }
});

test("a secret is renamed by who has a right to both names", async ({ expect }) => {
  await using made = await TestVault.open({
    policy: policyOf({ role: "operator", holder: ci, secrets: "ci-*", vms: "ci-*" }),
  });
  for (const name of ["ci-a", "root"]) await made.set(name, "v");
  for (const name of ["ci-1", "other"]) await made.vm(name, "ci-a");
  const rename = (from: string, to: string): Promise<string> => refusal(made.vault.renameSecret(token, from, to));
  expect(await rename("ci-a", "root-2")).toBe("forbidden");
  expect(await rename("root", "ci-b")).toBe("forbidden");
  expect(await made.vault.renameSecret(token, "ci-a", "ci-b")).toMatchObject({ vms: ["ci-1"] });
});

test("a default, which goes to any vm, needs a right to every vm, and is left out where its maker has none", async ({
  expect,
}) => {
  const broad: Caller = { kind: "token", id: "broad" };
  await using made = await TestVault.open({
    policy: policyOf(
      { role: "operator", holder: ci, secrets: "ci-*", vms: "ci-*" },
      { role: "operator", holder: { kind: "token", id: "broad" }, secrets: "db-*" },
    ),
  });
  for (const name of ["ci-a", "db-a"]) await made.set(name, "v");
  const about = { default: true } as const;
  expect(await refusal(made.vault.putSecret(token, "ci-a", "update", { about }))).toBe("forbidden");
  expect(await refusal(made.vault.putSecret(broad, "db-a", "update", { about }))).toBe("done");
  expect(await refusal(made.vault.putSecret(admin, "ci-a", "update", { about }))).toBe("done");
  await made.vault.createVm(token, { name: "ci-1", runner, group: "ci", grants: [], defaults: true });
  expect((await made.vault.grants(admin, "ci-1")).map(({ secret }) => secret.name)).toEqual(["ci-a"]);
});

test("a history names the pins of those vms that one may see", async ({ expect }) => {
  await using made = await TestVault.open({
    policy: policyOf({ role: "reader", holder: ci, secrets: "ci-*", vms: "ci-*" }),
  });
  await made.set("ci-a", "v");
  for (const name of ["ci-1", "other"]) {
    await made.vm(name);
    await made.vault.attach(admin, name, [{ secret: "ci-a", change: {}, pin: true }]);
  }
  expect((await made.vault.history(token, "ci-a")).map(({ pinnedBy }) => pinnedBy)).toEqual([["ci-1"]]);
  expect((await made.vault.history(admin, "ci-a")).map(({ pinnedBy }) => pinnedBy)).toEqual([["ci-1", "other"]]);
});

function asked(policy: Policy, caller: Caller): string | undefined {
  return refusalOf(policy, caller, "secret.remove", { secret: "a" })?.code;
}

test("without roles all is as it was; with them, only the owner and root need none", ({ expect }) => {
  expect(asked({ mode: "system" }, unix(5))).toBeUndefined();
  expect(asked({ mode: "system" }, token)).toBeUndefined();
  expect(asked({ mode: "system", roles: [] }, unix(0))).toBeUndefined();
  expect(asked({ mode: "system", roles: [] }, unix(5))).toBe("forbidden");
  expect(asked({ mode: "system", roles: [] }, token)).toBe("forbidden");
  expect(asked(policyOf(), unix(1000))).toBeUndefined();
  expect(asked(policyOf({ role: "admin", holder: { kind: "gid", gid: 7 } }), unix(5))).toBeUndefined();
  expect(asked(policyOf({ role: "admin", holder: { kind: "gid", gid: 8 } }), unix(5))).toBe("forbidden");
  const member: Caller = { kind: "unix", uid: 5, gid: 7, pid: 1, groups: [8] };
  expect(asked(policyOf({ role: "admin", holder: { kind: "gid", gid: 8 } }), member)).toBeUndefined();
  expect(asked(policyOf({ role: "admin", holder: { kind: "uid", uid: 6 } }), unix(5))).toBe("forbidden");
  const certificate: Caller = { kind: "certificate", name: "ci", serial: "01" };
  expect(asked(policyOf({ role: "admin", holder: ci }), certificate)).toBe("forbidden");
  expect(asked(policyOf({ role: "admin", holder: { kind: "certificate", name: "ci" } }), certificate)).toBeUndefined();
});

test("attaching needs a right to the secret and to the vm, both of one role", async ({ expect }) => {
  const policy = policyOf(
    { role: "operator", holder: ci, secrets: "ci-*", vms: "ci-*" },
    { role: "operator", holder: ci, secrets: "db-*", vms: "db-*" },
  );
  await using made = await TestVault.open({ policy });
  for (const name of ["ci-a", "ci-b", "db-a", "root"]) await made.set(name, "v");
  for (const name of ["ci-1", "db-1", "other"]) await made.vm(name);
  const attach = (vm: string, ...secrets: string[]): Promise<string> => {
    const grants = secrets.map((secret) => ({ secret, change: {} }));
    return refusal(made.vault.attach(token, vm, grants));
  };
  expect(await attach("ci-1", "ci-a", "ci-b")).toBe("done");
  expect(await attach("db-1", "db-a")).toBe("done");
  for (const [vm, ...secrets] of [
    ["ci-1", "db-a"],
    ["db-1", "ci-a"],
    ["ci-1", "root"],
    ["other", "ci-a"],
    ["ci-1", "ci-a", "root"],
    ["ci-1", "unknown"],
    ["unknown", "ci-a"],
  ] as const) {
    expect(await attach(vm, ...secrets), `${vm} ${secrets.join()}`).toBe("forbidden");
  }
  const lines = (await made.audit()).filter(({ caller, outcome }) => caller === "token:ci" && outcome === "forbidden");
  expect(lines).toHaveLength(7);
  expect(lines[4]).toMatchObject({ op: "grant.attach", vm: "ci-1", secret: "ci-a,root" });
});

test("everybody sees his part of a list, and learns of nothing else", async ({ expect }) => {
  await using made = await TestVault.open({
    policy: policyOf({ role: "reader", holder: ci, secrets: "ci-*", vms: "ci-*" }),
  });
  for (const name of ["ci-a", "root"]) await made.set(name, "v");
  const vm = await made.vm("ci-1", "ci-a", "root");
  const other = await made.vm("other", "ci-a");
  const { vault } = made;
  expect((await vault.secrets(token)).map(({ name }) => name)).toEqual(["ci-a"]);
  expect((await vault.vms(token)).map(({ name }) => name)).toEqual(["ci-1"]);
  expect((await vault.grants(token, "ci-1")).map(({ secret }) => secret.name)).toEqual(["ci-a"]);
  expect(await vault.holders(token, "ci-a")).toEqual(["ci-1"]);
  expect(await vault.convergence(token, vm.id)).toMatchObject({ wanted: 1 });
  for (const promise of [
    vault.secret(token, "root"),
    vault.secret(token, "missing"),
    vault.vm(token, "other"),
    vault.convergence(token, other.id),
    vault.convergence(token, "0".repeat(32)),
    vault.putSecret(token, "ci-a", "update", { value: Buffer.from("w") }),
    vault.removeVm(token, "ci-1"),
  ]) {
    expect(await refusal(promise)).toBe("forbidden");
  }
  // Guests are not asked for roles.
  expect(await made.seen(vm.id, "root")).toBe("v");
  expect((await vault.resolve(guest(vm.id), vm.id)).manifest.entries).toHaveLength(2);
});

test("a vm runs as its maker, or as its group says, unless an admin of all makes it", async ({ expect }) => {
  const ops: Caller = { kind: "unix", uid: 1001, gid: 1001, pid: 1 };
  await using made = await TestVault.open({
    policy: policyOf({ role: "operator", holder: { kind: "uid", uid: 1001 }, secrets: "ci-*", vms: "ci-*" }),
  });
  for (const name of ["ci-a", "root"]) await made.set(name, "v");
  const own = { uid: 1001, gid: 1001 };
  const make = (name: string, more: object): Promise<string> =>
    refusal(made.vault.createVm(ops, { name, runner: own, grants: [], ...more }));
  expect(await make("ci-1", {})).toBe("done");
  expect(await make("ci-2", { runner })).toBe("forbidden");
  expect(await make("ci-3", { runner, group: "ci" })).toBe("done");
  expect(await make("other", {})).toBe("forbidden");
  expect(await make("ci-4", { grants: [{ secret: "root", change: {} }] })).toBe("forbidden");
  expect(await make("ci-5", { all: true })).toBe("done");
  expect((await made.vault.grants(admin, "ci-5")).map(({ secret }) => secret.name)).toEqual(["ci-a"]);
  expect(await refusal(made.vault.createVm(admin, { name: "any", runner: own, grants: [] }))).toBe("done");
});

test("who asks is told his roles, and what he could do, without a line in the trail", async ({ expect }) => {
  await using made = await TestVault.open({
    policy: policyOf({ role: "operator", holder: ci, secrets: "ci-*", vms: "ci-*" }),
  });
  const { vault } = made;
  expect(await vault.whoami(token)).toMatchObject([{ role: "operator", secrets: "ci-*", vms: "ci-*" }]);
  expect(await vault.whoami({ kind: "token", id: "other" })).toEqual([]);
  expect(await vault.can(token, "attach", { secret: "ci-a", vm: "ci-1" })).toEqual({ allowed: true });
  expect(await vault.can(token, "create", { secret: "ci-a" })).toEqual({
    allowed: false,
    reason: 'no role of token:ci allows secret.create of secret "ci-a"',
  });
  expect(await vault.can(token, "attach", { secret: "ci-a", vm: "web" })).toMatchObject({ allowed: false });
  expect(() => operationOf("start", { secret: "a" })).toThrow('"start" is not done to a secret');
  expect(() => operationOf("attach", { vm: "a" })).toThrow('"attach" is not done to a vm');
  expect(() => operationOf("start", {})).toThrow('"start" is not done to the daemon: logs, audit, rotate');
  expect(operationOf("rename", { secret: "a" })).toBe("secret.rename");
  expect(operationOf("unpin", { secret: "a", vm: "b" })).toBe("grant.unpin");
  expect(operationOf("seal", {})).toBe("key.seal");
  expect(await made.audit()).toEqual([]);
});
