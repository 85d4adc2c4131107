import { describe, test } from "vitest";
import { Faults } from "#store/memory";
import { admin, guest, refusal, TestVault } from "#test/kit/vault";

const keep = { change: {}, pin: true } as const;

async function versions(made: TestVault, name: string): Promise<number[]> {
  return (await made.vault.history(admin, name)).map(({ version }) => version);
}

describe("history", () => {
  test("has ten versions, the newest first, each with its size", async ({ expect }) => {
    await using made = await TestVault.open();
    for (let size = 1; size <= 12; size++) await made.set("db", "x".repeat(size));
    const history = await made.vault.history(admin, "db");
    expect(history.map(({ version, size }) => [version, size])).toEqual(
      [12, 11, 10, 9, 8, 7, 6, 5, 4, 3].map((version) => [version, version]),
    );
    expect(history.map(({ current }) => current)).toEqual([true, ...Array.from({ length: 9 }, () => false)]);
    expect((await made.store.list("value:", { limit: 100 })).rows.length).toBe(10);
  });

  test("outlives a change of metadata", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const value of ["1", "2"]) await made.set("db", value);
    await made.vault.putSecret(admin, "db", "update", { delivery: { mode: "0440" } });
    expect(await versions(made, "db")).toEqual([2, 1]);
  });

  test("ends with the secret: all values are gone, however many were kept", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v");
    for (let count = 0; count < 110; count++) {
      await made.vm(`vm${count}`);
      await made.vault.attach(admin, `vm${count}`, [{ secret: "db", ...keep }]);
      await made.set("db", `${count}`);
    }
    expect((await versions(made, "db")).length).toBe(111);
    await made.vault.removeSecret(admin, "db");
    expect((await made.store.list("value:", { limit: 200 })).rows).toEqual([]);
  });
});

describe("a rollback", () => {
  test("is a new version with the old value, and reaches who has it", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const value of ["one", "two", "three"]) await made.set("db", value);
    const { id } = await made.vm("web", "db");
    expect(await made.vault.rollbackSecret(admin, "db", undefined)).toMatchObject({ version: 4, size: 3 });
    expect(await made.seen(id, "db")).toBe("two");
    expect(await made.vault.rollbackSecret(admin, "db", 1)).toMatchObject({ version: 5 });
    expect(await made.seen(id, "db")).toBe("one");
    const audited = (await made.audit()).findLast(({ op }) => op === "secret.rollback");
    expect(audited).toMatchObject({ phase: "outcome", secret: "db", version: 5, outcome: "ok" });
  });

  test("to what is current, or not kept, is refused", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "one");
    expect(await refusal(made.vault.rollbackSecret(admin, "db", undefined))).toBe("not-found");
    expect(await refusal(made.vault.rollbackSecret(admin, "db", 1))).toBe("invalid");
    expect(await refusal(made.vault.rollbackSecret(admin, "db", 2))).toBe("not-found");
    expect(await refusal(made.vault.rollbackSecret(admin, "absent", 1))).toBe("not-found");
  });

  test("to a value that a variable cannot hold is refused", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "a\0b");
    await made.set("db", "ab", { env: "DB" });
    expect(await refusal(made.vault.rollbackSecret(admin, "db", 1))).toBe("invalid");
    expect(await versions(made, "db")).toEqual([2, 1]);
  });
});

describe("renaming", () => {
  test("keeps id, versions and grants, and the file of who has it", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const value of ["one", "two"]) await made.set("old", value);
    const { id } = await made.vm("web", "old");
    const before = await made.vault.secret(admin, "old");
    expect(await made.vault.renameSecret(admin, "old", "new")).toMatchObject({
      vms: ["web"],
      secret: { id: before.id },
    });
    expect(await refusal(made.vault.secret(admin, "old"))).toBe("not-found");
    expect(await versions(made, "new")).toEqual([2, 1]);
    const [entry] = (await made.vault.resolve(guest(id), id)).manifest.entries;
    expect(entry).toMatchObject({ name: "new", version: 2, file: { path: "old" } });
    expect(await made.seen(id, "new")).toBe("two");
    await made.set("new", "three");
    expect(await made.seen(id, "new")).toBe("three");
    await made.vault.detach(admin, "web", "new");
    expect(await made.vault.grants(admin, "web")).toEqual([]);
  });

  test("sends the value again, since a guest knows what it has by name", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const name of ["old", "other"]) await made.set(name, "v");
    const { id } = await made.vm("web", "old", "other");
    const { revision } = (await made.vault.resolve(guest(id), id)).manifest;
    await made.vault.renameSecret(admin, "old", "new");
    const after = await made.vault.resolve(guest(id), id);
    expect(after.changedSince(revision).map(({ name }) => name)).toEqual(["new"]);
  });

  test("of a secret that no vm has leaves its path to its name", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("old", "v");
    const { secret } = await made.vault.renameSecret(admin, "old", "new");
    expect(secret.delivery.path).toBeUndefined();
  });

  test("to a name that is taken, or is none, is refused", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const name of ["a", "b"]) await made.set(name, name);
    expect(await refusal(made.vault.renameSecret(admin, "a", "b"))).toBe("exists");
    expect(await refusal(made.vault.renameSecret(admin, "a", "a"))).toBe("exists");
    expect(await refusal(made.vault.renameSecret(admin, "a", "../b"))).toBe("invalid");
    expect(await refusal(made.vault.renameSecret(admin, "absent", "c"))).toBe("not-found");
    expect((await made.vault.secrets(admin)).map(({ name }) => name)).toEqual(["a", "b"]);
  });

  test("holds at once: grants that still say the old name are found, and the name is free", async ({ expect }) => {
    const faults = new Faults();
    await using made = await TestVault.open({ faults });
    await made.set("a", "first");
    const { id } = await made.vm("web", "a");
    for (const [from, to] of [
      ["a", "b"],
      ["b", "c"],
    ] as const) {
      // The change itself is taken; the tidying of the grants after it is not.
      for (const fault of ["reset", "unavailable"] as const) faults.next(fault);
      expect(await refusal(made.vault.renameSecret(admin, from, to))).toBe("unavailable");
    }
    await made.set("a", "another");
    expect((await made.vault.resolve(guest(id), id)).manifest.entries.map(({ name }) => name)).toEqual(["c"]);
    await made.vault.attach(admin, "web", [{ secret: "a", change: { path: "second" } }]);
    expect(await made.seen(id, "a")).toBe("another");
    expect(await made.seen(id, "c")).toBe("first");
  });
});

describe("a pinned version", () => {
  test("stays while newer ones come, and is in sync", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "one");
    const [web, ci] = [await made.vm("web"), await made.vm("ci", "db")];
    await made.vault.attach(admin, "web", [{ secret: "db", ...keep }]);
    const revision = async (): Promise<string> => (await made.vault.resolve(guest(web.id), web.id)).manifest.revision;
    const before = await revision();
    await made.set("db", "longer");
    expect(await revision()).toBe(before);
    expect(await made.seen(web.id, "db")).toBe("one");
    expect(await made.seen(ci.id, "db")).toBe("longer");
    expect(await made.vault.grants(admin, "web")).toMatchObject([{ secret: { version: 1, size: 3 }, newest: 2 }]);
  });

  test("is kept as long as it is pinned", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "one");
    const { id } = await made.vm("web");
    await made.vault.attach(admin, "web", [{ secret: "db", ...keep }]);
    for (let count = 0; count < 15; count++) await made.set("db", `${count}`);
    expect(await made.seen(id, "db")).toBe("one");
    expect((await made.vault.history(admin, "db")).at(-1)).toMatchObject({ version: 1, pinnedBy: ["web"] });
    await made.vault.unpin(admin, "web", "db");
    expect(await made.seen(id, "db")).toBe("14");
    await made.set("db", "last");
    expect((await versions(made, "db")).at(-1)).toBe(8);
  });

  test("is never let go of, however pins and new values meet", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "0");
    const names = Array.from({ length: 8 }, (_, index) => `vm${index}`);
    const vms = await Promise.all(names.map((name) => made.vm(name)));
    const setting = (async () => {
      for (let count = 1; count <= 40; count++) await made.set("db", `${count}`);
    })();
    const pinning = names.map(async (name) => {
      let outcome = "conflict";
      while (outcome === "conflict") {
        outcome = await refusal(made.vault.attach(admin, name, [{ secret: "db", ...keep }]));
      }
      expect(outcome).toBe("done");
    });
    await Promise.all([setting, ...pinning]);
    const kept = new Set(await versions(made, "db"));
    for (const [index, { id }] of vms.entries()) {
      const [given] = await made.vault.grants(admin, names[index] ?? "");
      expect(kept.has(given?.grant.pin ?? 0)).toBe(true);
      expect(await made.seen(id, "db")).toBe(`${(given?.grant.pin ?? 0) - 1}`);
    }
  });

  test("stays by another attaching, and moves by another pinning", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "one");
    const { id } = await made.vm("web");
    await made.vault.attach(admin, "web", [{ secret: "db", ...keep }]);
    await made.set("db", "two");
    await made.vault.attach(admin, "web", [{ secret: "db", change: { mode: "0440" } }]);
    expect(await made.seen(id, "db")).toBe("one");
    await made.vault.attach(admin, "web", [{ secret: "db", ...keep }]);
    expect(await made.seen(id, "db")).toBe("two");
  });

  test("is what the rules hold for, and what is not pinned is refused to be unpinned", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "text");
    await made.vm("web", "db");
    expect(await refusal(made.vault.unpin(admin, "web", "db"))).toBe("invalid");
    await made.vault.attach(admin, "web", [{ secret: "db", change: { env: "DB" }, pin: true }]);
    await made.vault.detach(admin, "web", "db");
    await made.vault.attach(admin, "web", [{ secret: "db", change: {}, pin: true }]);
    await made.set("db", "a\0b");
    await made.vault.attach(admin, "web", [{ secret: "db", change: { env: "DB" } }]);
    expect(await refusal(made.vault.unpin(admin, "web", "db"))).toBe("invalid");
    await made.vault.attach(admin, "web", [{ secret: "db", change: {} }]);
    await made.vault.unpin(admin, "web", "db");
  });
});

test("defaults go to every new vm that does not refuse them", async ({ expect }) => {
  await using made = await TestVault.open();
  for (const name of ["db", "proxy"]) await made.set(name, name);
  await made.vault.putSecret(admin, "proxy", "update", { about: { default: true } });
  const runner = { uid: 1000, gid: 1000 };
  const names = async (name: string): Promise<string[]> =>
    (await made.vault.grants(admin, name)).map(({ secret }) => secret.name);
  await made.vault.createVm(admin, { name: "a", runner, grants: [], defaults: true });
  expect(await names("a")).toEqual(["proxy"]);
  await made.vault.createVm(admin, { name: "b", runner, grants: [{ secret: "db", change: {} }], defaults: true });
  expect(await names("b")).toEqual(["db", "proxy"]);
  const own = { secret: "proxy", change: { path: "own" } };
  await made.vault.createVm(admin, { name: "c", runner, grants: [own], defaults: true });
  expect(await made.vault.grants(admin, "c")).toMatchObject([{ grant: { change: { path: "own" } } }]);
  await made.vault.createVm(admin, { name: "d", runner, grants: [] });
  expect(await names("d")).toEqual([]);
});
