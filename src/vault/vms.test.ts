import { describe, test } from "vitest";
import { Faults } from "#store/memory";
import { admin, refusal, TestVault } from "#test/kit/vault";

const runner = { uid: 1000, gid: 1000 };
const request = (secret: string): { secret: string; change: object } => ({ secret, change: {} });

describe("making a vm", () => {
  test("with an unknown secret makes nothing", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v");
    await expect(made.vm("web", "db", "nope")).rejects.toMatchObject({
      code: "not-found",
      message: 'there is no secret "nope"',
      hint: "set it with: hatchway secret set nope",
    });
    expect(await made.vault.vms(admin)).toEqual([]);
    expect(await made.vault.holders(admin, "db")).toEqual([]);
    await made.vm("web", "db");
  });

  test("of a name that is taken is refused, and leaves the first as it is", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v");
    const first = await made.vm("web", "db");
    expect(await refusal(made.vm("web"))).toBe("exists");
    expect(await made.vault.vm(admin, "web")).toEqual(first);
    expect(await made.seen(first.id, "db")).toBe("v");
  });

  test.for(["", ".", "-a", "a/b", "_a", "a".repeat(64), "a\n"])("the name %j is refused", async (name, { expect }) => {
    await using made = await TestVault.open();
    expect(await refusal(made.vm(name))).toBe("invalid");
    for (const act of [
      made.vault.removeVm(admin, name),
      made.vault.vm(admin, name),
      made.vault.attach(admin, name, []),
      made.vault.detach(admin, name, "db"),
      made.vault.grants(admin, name),
      made.vault.admit(admin, "vm.start", name),
    ]) {
      expect(await refusal(act)).toBe("invalid");
    }
    expect(await made.audit()).toEqual([]);
  });

  test("a secret that is asked for twice is refused", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v");
    expect(await refusal(made.vm("web", "db", "db"))).toBe("invalid");
  });

  test("all attaches every secret that there is", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const name of ["a", "b", "c"]) await made.set(name, name);
    await made.vault.createVm(admin, { name: "web", runner, grants: [], all: true });
    expect((await made.vault.grants(admin, "web")).map(({ secret }) => secret.name)).toEqual(["a", "b", "c"]);
  });

  test("more secrets than one commit holds are attached, found and taken back", async ({ expect }) => {
    await using made = await TestVault.open();
    const names = Array.from({ length: 300 }, (_, at) => `s${at}`);
    for (const name of names) await made.set(name, name);
    const { id } = await made.vm("web", ...names);
    expect(await made.seen(id, "s299")).toBe("s299");
    for (const name of ["s0", "s150", "s299"]) expect(await made.vault.holders(admin, name)).toEqual(["web"]);
    await made.set("s299", "new");
    expect(await made.seen(id, "s299")).toBe("new");
    await made.vault.removeVm(admin, "web");
    expect((await made.store.list("holder:", { limit: 1000 })).rows).toEqual([]);
  });

  test("more than a bundle holds is refused, and makes nothing", async ({ expect }) => {
    await using made = await TestVault.open();
    const big = Buffer.alloc(1_048_576);
    for (let at = 0; at < 65; at++) await made.set(`s${at}`, big);
    const names = Array.from({ length: 65 }, (_, at) => `s${at}`);
    await expect(made.vm("web", ...names)).rejects.toMatchObject({ code: "invalid" });
    await made.vm("web", ...names.slice(1));
    expect(await refusal(made.vault.attach(admin, "web", [request("s0")]))).toBe("invalid");
    expect(await made.vault.grants(admin, "web")).toHaveLength(64);
  });
});

describe("attaching", () => {
  test("all or none", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("a", "1");
    await made.set("b", "2", { env: "X" });
    await made.set("c", "3", { env: "X" });
    const { id } = await made.vm("web");
    const { vault } = made;
    expect(await refusal(vault.attach(admin, "web", [request("a"), request("nope")]))).toBe("not-found");
    expect(await refusal(vault.attach(admin, "web", [request("b"), request("c")]))).toBe("invalid");
    expect(await refusal(vault.attach(admin, "web", [request("a"), request("a")]))).toBe("invalid");
    expect(await refusal(vault.attach(admin, "nope", [request("a")]))).toBe("not-found");
    expect(await vault.grants(admin, "web")).toEqual([]);
    expect(await made.seen(id, "a")).toBeUndefined();
    await vault.attach(admin, "web", [request("a"), request("b")]);
    expect(await made.seen(id, "b")).toBe("2");
  });

  test("again changes only how it is delivered", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v");
    await made.vm("web", "db");
    const [before] = await made.vault.grants(admin, "web");
    const change = { path: "elsewhere", mode: "0400" };
    const [after] = await made.vault.attach(admin, "web", [{ secret: "db", change }]);
    expect(after).toEqual({ ...before?.grant, change });
    expect(await made.vault.grants(admin, "web")).toHaveLength(1);
  });

  test("leaves what other vms have as it is", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v");
    await made.vm("a", "db");
    await made.vm("b", "db");
    await made.vault.attach(admin, "a", [{ secret: "db", change: { path: "x" } }]);
    expect((await made.vault.grants(admin, "b"))[0]?.grant.change).toEqual({});
  });
});

describe("detaching", () => {
  test("takes it from that vm alone", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v");
    const [a, b] = [await made.vm("a", "db"), await made.vm("b", "db")];
    await made.vault.detach(admin, "a", "db");
    expect(await made.seen(a.id, "db")).toBeUndefined();
    expect(await made.seen(b.id, "db")).toBe("v");
    expect(await made.vault.holders(admin, "db")).toEqual(["b"]);
    expect(await refusal(made.vault.detach(admin, "a", "db"))).toBe("not-found");
  });

  test("and attaching at one time never leaves a vm that changes do not reach", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "0");
    const { id } = await made.vm("web", "db");
    for (let round = 1; round <= 20; round++) {
      await Promise.all([
        made.set("other", "v"),
        refusal(made.vault.detach(admin, "web", "db")),
        refusal(made.vault.attach(admin, "web", [request("db")])),
      ]);
      await made.set("db", `${round}`);
      const holders = await made.vault.holders(admin, "db");
      expect(await made.seen(id, "db"), `round ${round}`).toBe(holders.length === 1 ? `${round}` : undefined);
      const granted = (await made.vault.grants(admin, "web")).length;
      expect(holders).toHaveLength(granted);
      if (granted === 0) await made.vault.attach(admin, "web", [request("db")]);
    }
  });
});

describe("removing a vm", () => {
  test("takes all that was its own, and leaves the secrets", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v");
    const { id } = await made.vm("web", "db");
    await made.vault.removeVm(admin, "web");
    for (const prefix of ["vm:", "grants:", "holder:", "ledger:"]) {
      expect((await made.store.list(prefix, { limit: 10 })).rows).toEqual([]);
    }
    expect(await refusal(made.seen(id, "db"))).toBe("not-found");
    expect(await refusal(made.vault.removeVm(admin, "web"))).toBe("not-found");
    const again = await made.vm("web");
    expect(again.id).not.toBe(id);
    expect(await made.vault.grants(admin, "web")).toEqual([]);
  });

  test("is done, whatever its tidying meets", async ({ expect }) => {
    const faults = new Faults();
    await using made = await TestVault.open({ faults });
    await made.set("db", "v");
    await made.vm("web", "db");
    for (const fault of ["reset", "conflict", "conflict"] as const) faults.next(fault);
    await made.vault.removeVm(admin, "web");
    expect((await made.audit()).at(-1)).toMatchObject({ op: "vm.remove", outcome: "ok" });
    expect(await made.vault.holders(admin, "db")).toEqual([]);
  });

  test("and a secret of it at one time both succeed", async ({ expect }) => {
    await using made = await TestVault.open();
    for (let round = 0; round < 10; round++) {
      await made.set("db", "v");
      await made.vm("web", "db");
      await Promise.all([made.vault.removeVm(admin, "web"), made.vault.removeSecret(admin, "db")]);
      expect((await made.store.list("holder:", { limit: 10 })).rows).toEqual([]);
    }
  });
});

const vmOf = (name: string, uid: number): Parameters<TestVault["vault"]["createVm"]>[1] => ({
  name,
  runner: { uid, gid: uid },
  grants: [],
});

describe("two vms of one runner", () => {
  test("are refused in a system, since they could reach each other", async ({ expect }) => {
    await using made = await TestVault.open({ policy: { mode: "system" } });
    await made.vault.createVm(admin, vmOf("a", 990));
    await expect(made.vault.createVm(admin, vmOf("b", 990))).rejects.toMatchObject({
      code: "invalid",
      message: 'vm "a" has the runner uid 990 already',
      hint: expect.stringContaining("useradd --system b-runner") as string,
    });
    await made.vault.createVm(admin, vmOf("b", 991));
    await made.vault.removeVm(admin, "a");
    await made.vault.createVm(admin, vmOf("c", 990));
  });

  test("are refused when they come at one time", async ({ expect }) => {
    await using made = await TestVault.open({ policy: { mode: "system" } });
    const names = ["a", "b", "c", "d"];
    // While the audit writes this one, the others queue up, and go on at the same time.
    const first = made.set("db", "v");
    const outcomes = await Promise.all(names.map((name) => refusal(made.vault.createVm(admin, vmOf(name, 990)))));
    await first;
    expect(outcomes.toSorted()).toEqual(["done", "invalid", "invalid", "invalid"]);
    expect(await made.vault.vms(admin)).toHaveLength(1);
  });

  test("are the user's own matter in a session", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.vm("a");
    await made.vm("b");
    expect((await made.vault.vms(admin)).map(({ name }) => name)).toEqual(["a", "b"]);
  });
});

test("starting and stopping needs the right and leaves its lines", async ({ expect }) => {
  await using made = await TestVault.open();
  const { id } = await made.vm("web");
  expect(await made.vault.admit(admin, "vm.start", "web")).toMatchObject({ name: "web" });
  expect(await refusal(made.vault.admit(admin, "vm.stop", "nope"))).toBe("not-found");
  const runnerOfWeb = { kind: "runner", uid: 1000, vmId: id } as const;
  expect(await refusal(made.vault.admit(runnerOfWeb, "vm.start", "web"))).toBe("forbidden");
  expect((await made.audit()).slice(2).map(({ op, vm, outcome }) => [op, vm, outcome])).toEqual([
    ["vm.start", "web", undefined],
    ["vm.start", "web", "ok"],
    ["vm.stop", "nope", undefined],
    ["vm.stop", "nope", "not-found"],
    ["vm.start", "web", "forbidden"],
  ]);
});
