import { describe, test } from "vitest";
import type { Bundle } from "#bundle";
import { encodeManifest } from "#protocol/manifest";
import type { Change, Store } from "#store";
import { Faults } from "#store/memory";
import { deleteRaw, rawRows } from "#test/kit/tamper";
import { admin, guest, refusal, TestVault } from "#test/kit/vault";

function resolve(made: TestVault, vmId: string): Promise<Bundle> {
  return made.vault.resolve(guest(vmId), vmId);
}

/** As a guest would: takes the values, and with them the right to say that it has them. */
async function fetched(made: TestVault, vmId: string): Promise<string> {
  const bundle = await resolve(made, vmId);
  await bundle.disclose(bundle.manifest.entries);
  return bundle.manifest.revision;
}

async function changed(made: TestVault, vmId: string, have: string | undefined): Promise<string[]> {
  return (await resolve(made, vmId)).changedSince(have).map(({ name }) => name);
}

describe("a vm's revision", () => {
  test("changes with what that vm has, and with nothing else", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "1");
    await made.set("other", "1");
    const [a, b] = [await made.vm("a", "db"), await made.vm("b", "other")];
    const revision = async (): Promise<string> => (await resolve(made, a.id)).manifest.revision;
    const first = await revision();
    await made.set("other", "2");
    await made.vault.attach(admin, "b", [{ secret: "db", change: { path: "x" } }]);
    await made.vault.detach(admin, "b", "db");
    await made.set("unattached", "1");
    expect(await revision()).toBe(first);
    expect((await resolve(made, a.id)).counter).toBe(1);
    await made.set("db", "1");
    expect(await revision()).not.toBe(first);
    expect((await resolve(made, a.id)).counter).toBe(2);
    expect((await resolve(made, b.id)).counter).toBe(1);
  });

  test("does not change by asking, by a change to the same, or by a restart", async ({ expect }) => {
    await using made = await TestVault.open({ store: "sqlite" });
    await made.set("db", "1");
    const { id } = await made.vm("a", "db");
    const { revision } = (await resolve(made, id)).manifest;
    for (let count = 0; count < 5; count++) await resolve(made, id);
    await made.vault.putSecret(admin, "db", "update", { delivery: { mode: "0600" } });
    await made.vault.detach(admin, "a", "db");
    await made.vault.attach(admin, "a", [{ secret: "db", change: {} }]);
    expect((await resolve(made, id)).manifest.revision).toBe(revision);
    await made.stop();
    await made.start();
    expect((await resolve(made, id)).manifest.revision).toBe(revision);
  });

  test("says nothing of other vms: each counts for itself", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "1");
    const vms = [await made.vm("a", "db"), await made.vm("b", "db"), await made.vm("c", "db")];
    const revisions = await Promise.all(vms.map(async ({ id }) => (await resolve(made, id)).manifest.revision));
    expect(new Set(revisions).size).toBe(1);
  });
});

test("the same grants are the same bytes, in whatever order they came", async ({ expect }) => {
  await using made = await TestVault.open();
  for (const name of ["c", "a", "b"]) await made.set(name, name, { mode: "0440" });
  const one = await made.vm("one", "a", "b", "c");
  const two = await made.vm("two", "c", "b", "a");
  const bytes = async (id: string): Promise<string> => {
    const { manifest } = await resolve(made, id);
    return Buffer.from(encodeManifest({ ...manifest, vm: "x" })).toString();
  };
  expect(await bytes(two.id)).toBe(await bytes(one.id));
});

describe("what changed since a revision", () => {
  test("is everything for who has none", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const name of ["a", "b"]) await made.set(name, name);
    const { id } = await made.vm("web", "a", "b");
    expect(await changed(made, id, undefined)).toEqual(["a", "b"]);
  });

  test("is only what is newer, however many revisions are between", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const name of ["a", "b", "c"]) await made.set(name, name);
    const { id } = await made.vm("web", "a", "b");
    const first = await fetched(made, id);
    expect(await changed(made, id, first)).toEqual([]);
    await made.set("a", "new");
    const second = await fetched(made, id);
    await made.vault.attach(admin, "web", [{ secret: "c", change: {} }]);
    expect(await changed(made, id, first)).toEqual(["a", "c"]);
    expect(await changed(made, id, second)).toEqual(["c"]);
    await made.vault.putSecret(admin, "b", "update", { delivery: { mode: "0440" } });
    expect(await changed(made, id, second)).toEqual(["c"]);
  });

  test("includes what was taken away and given again", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const name of ["a", "b"]) await made.set(name, name);
    const { id } = await made.vm("web", "a", "b");
    const first = await fetched(made, id);
    await made.vault.detach(admin, "web", "a");
    await fetched(made, id);
    await made.vault.attach(admin, "web", [{ secret: "a", change: {} }]);
    expect(await changed(made, id, first)).toEqual(["a"]);
  });

  test("is everything for a revision of another boot", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("a", "a");
    const { id } = await made.vm("web", "a");
    const first = await fetched(made, id);
    await made.vault.newGeneration({ kind: "embedded", uid: 0, purpose: "test" }, id);
    expect(await changed(made, id, first)).toEqual(["a"]);
    expect(await changed(made, id, await fetched(made, id))).toEqual([]);
  });

  test("is everything for what is no revision of this vm", async ({ expect }) => {
    await using made = await TestVault.open();
    await using other = await TestVault.open();
    await made.set("a", "a");
    await other.set("a", "a");
    const { id } = await made.vm("web", "a");
    const foreign = await fetched(other, (await other.vm("web", "a")).id);
    const own = await fetched(made, id);
    const [epoch = "", generation = ""] = own.split(".");
    const garbage = [
      foreign,
      `${epoch}.${generation}.2`,
      `${epoch}.${generation}.999999999999999`,
      `${epoch}.${generation}.0`,
      `${epoch}.${generation}.-1`,
      `${epoch}.${generation}.01`,
      `${epoch}.${generation}.1e0`,
      `${epoch}.${generation}`,
      `${epoch}..1`,
      `${own}.1`,
      ` ${own}`,
      `${own}\n`,
      own.toUpperCase().replace(/[a-f]/g, "A"),
      "",
      "garbage",
      "__proto__",
      "1".repeat(96),
    ];
    for (const have of garbage) {
      if (have !== own) expect(await changed(made, id, have), have).toEqual(["a"]);
    }
  });
});

describe("disclosing", () => {
  test("opens what was audited, and nothing else", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const name of ["a", "b"]) await made.set(name, `value of ${name}`);
    const { id } = await made.vm("web", "a", "b");
    const bundle = await resolve(made, id);
    const [a, b] = bundle.manifest.entries;
    if (!a || !b) throw new Error("two entries were expected");
    const open = await bundle.disclose([a]);
    expect((await open(a)).toString()).toBe("value of a");
    expect(await refusal(open(b))).toBe("internal");
    expect(await refusal(open({ ...a }))).toBe("internal");
  });

  test("gives the version that the manifest says, though there is a newer one", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("a", "old");
    const { id } = await made.vm("web", "a");
    const bundle = await resolve(made, id);
    await made.set("a", "newer");
    const [entry] = bundle.manifest.entries;
    if (!entry) throw new Error("one entry was expected");
    const open = await bundle.disclose([entry]);
    expect((await open(entry)).toString()).toBe("old");
  });

  test("says that it changed, not that it is corrupt, to who is too slow", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const name of ["a", "b"]) await made.set(name, "old");
    const { id } = await made.vm("web", "a", "b");
    const bundle = await resolve(made, id);
    const open = await bundle.disclose(bundle.manifest.entries);
    for (let count = 0; count < 10; count++) await made.set("a", `${count}`);
    await made.vault.removeSecret(admin, "b");
    for (const entry of bundle.manifest.entries) expect(await refusal(open(entry))).toBe("conflict");
  });

  test("says that a value is corrupt which is missing", async ({ expect }) => {
    await using made = await TestVault.open({ store: "sqlite" });
    await made.set("a", "v");
    const { id } = await made.vm("web", "a");
    await made.stop();
    const values = rawRows(made.storeFile, "value:");
    deleteRaw(
      made.storeFile,
      values.map(({ key }) => key),
    );
    await made.start();
    expect(await refusal(made.seen(id, "a"))).toBe("corrupt");
  });

  test("is refused to another vm, to who has not claimed, and to another runner", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("a", "v");
    const [web, other] = [await made.vm("web", "a"), await made.vm("other")];
    expect(await refusal(made.vault.resolve(guest(other.id), web.id))).toBe("forbidden");
    expect(await refusal(made.vault.resolve({ ...guest(web.id), proven: false }, web.id))).toBe("unauthenticated");
    const runner = { kind: "runner", uid: 1000, vmId: other.id } as const;
    expect(await refusal(made.vault.resolve(runner, web.id))).toBe("forbidden");
  });
});

describe("who watches is told", () => {
  test("of the vms that a change concerns, once it is made", async ({ expect }) => {
    const faults = new Faults();
    await using made = await TestVault.open({ faults });
    const told: (string | undefined)[] = [];
    const stop = made.vault.watch((vmId) => told.push(vmId));
    const all = async (act: () => Promise<unknown>): Promise<(string | undefined)[]> => {
      told.length = 0;
      await act();
      return told.toSorted((one, two) => `${one}`.localeCompare(`${two}`));
    };
    await made.set("db", "1");
    const [a, b] = [await made.vm("a", "db"), await made.vm("b")];
    expect(await all(() => made.set("db", "2"))).toEqual([a.id]);
    expect(await all(() => made.vault.attach(admin, "b", [{ secret: "db", change: {} }]))).toEqual([b.id]);
    expect(await all(() => made.set("db", "3"))).toEqual([a.id, b.id].toSorted((one, two) => one.localeCompare(two)));
    expect(await all(() => made.vault.detach(admin, "b", "db"))).toEqual([b.id]);
    expect(await all(() => made.vault.removeSecret(admin, "db"))).toEqual([a.id]);
    expect(await all(() => made.vault.removeVm(admin, "b"))).toEqual([b.id]);
    faults.next("reset");
    expect(await all(() => made.set("x", "1"))).toContain(undefined);
    stop();
    expect(await all(() => made.set("x", "2"))).toEqual([]);
  });
});

describe("what is changed while something else is under way", () => {
  test("a value that comes while its secret is attached reaches the vm", async ({ expect }) => {
    let between: (() => Promise<void>) | undefined;
    /** Does `between` when a value is about to be committed. */
    const around = (store: Store): Store =>
      new Proxy(store, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name, target);
          if (name !== "commit") return typeof value === "function" ? (value.bind(target) as unknown) : value;
          return async (change: Change) => {
            const now = change.put.some(({ key }) => key.startsWith("value:")) ? between : undefined;
            if (now) between = undefined;
            await now?.();
            return target.commit(change);
          };
        },
      });
    await using made = await TestVault.open({ around });
    await made.set("db", "1");
    const { id } = await made.vm("a");
    between = async () => {
      await made.vault.attach(admin, "a", [{ secret: "db", change: {} }]);
      expect(await made.seen(id, "db")).toBe("1");
    };
    await made.set("db", "2");
    expect(await made.seen(id, "db")).toBe("2");
  });

  test("what was detached leaves no more, though it was asked for before", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "1");
    await made.set("web", "1");
    const { id } = await made.vm("a", "db", "web");
    const bundle = await resolve(made, id);
    const [db, web] = bundle.manifest.entries;
    const open = await bundle.disclose(bundle.manifest.entries);
    await made.vault.detach(admin, "a", "db");
    if (!db || !web) throw new Error("the bundle lacks an entry");
    expect(await refusal(open(db))).toBe("conflict");
    expect(await refusal(open(web))).toBe("done");
    await made.vault.removeVm(admin, "a");
    expect(await refusal(open(web))).toBe("not-found");
  });
});
