import { describe, test } from "vitest";
import { defaultDelivery, type DeliveryChange } from "#secret";
import { Faults } from "#store/memory";
import { admin, guest, refusal, TestVault } from "#test/kit/vault";

const value = Buffer.from("v");

describe("putting a secret", () => {
  test("create makes it once, update needs it, set does either", async ({ expect }) => {
    await using made = await TestVault.open();
    const { vault } = made;
    expect(await refusal(vault.putSecret(admin, "db", "update", { value }))).toBe("not-found");
    expect(await vault.putSecret(admin, "db", "create", { value })).toMatchObject({ created: true });
    expect(await refusal(vault.putSecret(admin, "db", "create", { value }))).toBe("exists");
    expect(await vault.putSecret(admin, "db", "update", { value })).toMatchObject({ created: false });
    expect(await vault.putSecret(admin, "db", "set", { value })).toMatchObject({ secret: { version: 3 } });
    expect(await vault.putSecret(admin, "web", "set", { value })).toMatchObject({ created: true });
    expect((await vault.secrets(admin)).map(({ name, version }) => [name, version])).toEqual([
      ["db", 3],
      ["web", 1],
    ]);
  });

  test("a new one is a file of root, 0600", async ({ expect }) => {
    await using made = await TestVault.open();
    const { secret } = await made.set("db", "four");
    expect(secret).toMatchObject({ name: "db", version: 1, size: 4, delivery: defaultDelivery });
  });

  test("metadata alone leaves value and version as they are", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "kept");
    const { id } = await made.vm("web", "db");
    const change = { delivery: { mode: "0440", user: 5 } };
    const { secret } = await made.vault.putSecret(admin, "db", "update", change);
    expect(secret).toMatchObject({ version: 1, size: 4, delivery: { ...defaultDelivery, mode: "0440", user: 5 } });
    expect(await made.seen(id, "db")).toBe("kept");
  });

  test("a value alone leaves the metadata as it is", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "one", { mode: "0440", env: "DB" });
    expect((await made.set("db", "other")).secret).toMatchObject({
      version: 2,
      size: 5,
      delivery: { mode: "0440", env: "DB" },
    });
  });

  test("without a value there is no new secret", async ({ expect }) => {
    await using made = await TestVault.open();
    const change = { delivery: { mode: "0440" } };
    for (const how of ["create", "set"] as const) {
      expect(await refusal(made.vault.putSecret(admin, "db", how, change))).toBe("invalid");
    }
    expect(await made.vault.secrets(admin)).toEqual([]);
  });

  test("a value has 0 bytes to 1 MiB", async ({ expect }) => {
    await using made = await TestVault.open();
    expect((await made.set("empty", "")).secret.size).toBe(0);
    expect((await made.set("largest", Buffer.alloc(1_048_576, 1))).secret.size).toBe(1_048_576);
    await expect(made.set("larger", Buffer.alloc(1_048_577))).rejects.toMatchObject({
      code: "too-large",
      message: 'the value of secret "larger" has 1048577 bytes, more than 1048576 (1 MiB)',
    });
    const { id } = await made.vm("web", "empty", "largest");
    expect(await made.seen(id, "empty")).toBe("");
    expect(await made.seen(id, "largest")).toBe("\u0001".repeat(1_048_576));
  });

  test.for(["", ".", "..", "a/b", "-a", ".a", "a b", "ä", "a\n", "a\0", "a".repeat(101), "%61", "../../etc/passwd"])(
    "the name %j is refused, and is not in the audit",
    async (name, { expect }) => {
      await using made = await TestVault.open();
      const { vault } = made;
      expect(await refusal(made.set(name, "v"))).toBe("invalid");
      expect(await refusal(vault.removeSecret(admin, name))).toBe("invalid");
      expect(await refusal(vault.secret(admin, name))).toBe("invalid");
      expect(await refusal(vault.holders(admin, name))).toBe("invalid");
      await made.vm("web");
      expect(await refusal(vault.attach(admin, "web", [{ secret: name, change: {} }]))).toBe("invalid");
      expect(await refusal(vault.detach(admin, "web", name))).toBe("invalid");
      expect((await made.audit()).map(({ op }) => op)).toEqual(["vm.create", "vm.create"]);
    },
  );

  test.for([
    [{ mode: "600" }, 'mode "600" is not a mode'],
    [{ mode: "01777" }, 'mode "01777" is not a mode'],
    [{ user: 2_097_152 }, 'owner "2097152" is not a uid or gid'],
    [{ user: -1 }, 'owner "-1" is not a uid or gid'],
    [{ group: 1.5 }, 'group "1.5" is not a uid or gid'],
    [{ user: "Root" }, 'owner "Root" is not a user name'],
    [{ path: "../x" }, 'path "../x" has the component ".."'],
    [{ path: "/x" }, 'path "/x" is not a path'],
    [{ path: ".hatchway/x" }, 'path ".hatchway/x" is under .hatchway'],
    [{ link: "etc/x" }, 'link "etc/x" is not absolute'],
    [{ env: "LD_PRELOAD" }, 'variable "LD_PRELOAD" would change how programs are loaded'],
    [{ env: "1A" }, 'variable "1A" is not an environment variable'],
    [{ file: false }, 'secret "db" is neither a file nor a variable'],
    [{ onChange: { signal: "HUP; rm", pidFile: "/run/x" } }, "signal"],
  ] as [DeliveryChange, string][])("the delivery %j is refused", async ([delivery, message], { expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v");
    const put = made.vault.putSecret(admin, "db", "update", { delivery });
    await expect(put).rejects.toMatchObject({ code: "invalid", message: expect.stringContaining(message) as string });
    expect((await made.vault.secret(admin, "db")).delivery).toEqual(defaultDelivery);
  });
});

describe("a value that becomes a variable holds no NUL", () => {
  const nul = Buffer.from("a\0b");

  test("not by the secret's own delivery", async ({ expect }) => {
    await using made = await TestVault.open();
    expect(await refusal(made.set("db", nul, { env: "DB" }))).toBe("invalid");
    await made.set("db", "good", { env: "DB" });
    expect(await refusal(made.set("db", nul))).toBe("invalid");
    await made.set("file", nul);
    expect(await refusal(made.vault.putSecret(admin, "file", "update", { delivery: { env: "X" } }))).toBe("invalid");
  });

  test("not by a grant's, when attached or when the value comes later", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", nul);
    await made.vm("web");
    const request = [{ secret: "db", change: { env: "DB" } }];
    expect(await refusal(made.vault.attach(admin, "web", request))).toBe("invalid");
    await made.set("db", "good");
    await made.vault.attach(admin, "web", request);
    await expect(made.set("db", nul)).rejects.toMatchObject({
      code: "invalid",
      message: 'secret "db" holds a NUL byte and cannot be variable "DB"',
    });
    const [{ id } = { id: "" }] = await made.vault.vms(admin);
    expect(await made.seen(id, "db")).toBe("good");
  });
});

describe("a change that would not fit into a vm is refused, and changes nothing", () => {
  test.for([
    [{ env: "ONE" }, { env: "ONE" }],
    [{ path: "same" }, { path: "same" }],
    [{ path: "dir" }, { path: "dir/file" }],
    [{ link: "/srv/x" }, { link: "/srv/x" }],
  ] as [DeliveryChange, DeliveryChange][])("%j beside %j", async ([one, two], { expect }) => {
    await using made = await TestVault.open();
    await made.set("first", "1", one);
    await made.set("second", "2");
    const { id } = await made.vm("web", "first", "second");
    const before = await made.vault.secret(admin, "second");
    const count = (await made.store.revision()) + 0;
    await expect(
      made.vault.putSecret(admin, "second", "update", { value: Buffer.from("new"), delivery: two }),
    ).rejects.toMatchObject({
      code: "invalid",
      message: expect.stringContaining('cannot give this to vm "web"') as string,
    });
    expect(await made.vault.secret(admin, "second")).toEqual(before);
    expect(await made.seen(id, "second")).toBe("2");
    expect(await made.store.revision()).toBeGreaterThanOrEqual(count);
  });

  test("by a delivery that a grant turns into none", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v", { env: "DB" });
    await made.vm("web");
    await made.vault.attach(admin, "web", [{ secret: "db", change: { env: null } }]);
    expect(await refusal(made.vault.putSecret(admin, "db", "update", { delivery: { file: false } }))).toBe("invalid");
  });
});

describe("removing a secret", () => {
  test("takes it from its vms, and says which they were", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "v");
    await made.set("other", "o");
    const vms = [await made.vm("b", "db", "other"), await made.vm("a", "db"), await made.vm("c", "other")];
    expect(await made.vault.holders(admin, "db")).toEqual(["a", "b"]);
    expect(await made.vault.removeSecret(admin, "db")).toEqual({ vms: ["a", "b"] });
    for (const { id } of vms) expect(await made.seen(id, "db")).toBeUndefined();
    expect((await made.vault.grants(admin, "b")).map(({ secret }) => secret.name)).toEqual(["other"]);
    expect(await refusal(made.vault.secret(admin, "db"))).toBe("not-found");
    expect(await refusal(made.vault.removeSecret(admin, "db"))).toBe("not-found");
  });

  test("leaves no version of its value in the store", async ({ expect }) => {
    await using made = await TestVault.open();
    for (let version = 1; version <= 14; version++) await made.set("db", `${version}`);
    expect((await made.store.list("value:", { limit: 100 })).rows).toHaveLength(10);
    await made.vm("web", "db");
    await made.vault.removeSecret(admin, "db");
    for (const prefix of ["value:", "secret:", "holder:"]) {
      expect((await made.store.list(prefix, { limit: 100 })).rows).toEqual([]);
    }
  });

  test("one of the same name is another secret: it is attached nowhere", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "old");
    const { id } = await made.vm("web", "db");
    const before = await made.vault.secret(admin, "db");
    await made.vault.removeSecret(admin, "db");
    const { secret } = await made.set("db", "new");
    expect(secret).toMatchObject({ version: 1 });
    expect(secret.id).not.toBe(before.id);
    expect(await made.seen(id, "db")).toBeUndefined();
    expect(await made.vault.holders(admin, "db")).toEqual([]);
    await made.vault.attach(admin, "web", [{ secret: "db", change: {} }]);
    expect(await made.seen(id, "db")).toBe("new");
  });

  test("is done, whatever its tidying meets", async ({ expect }) => {
    const faults = new Faults();
    await using made = await TestVault.open({ faults });
    await made.set("db", "v");
    await made.vm("web", "db");
    for (const fault of ["reset", "conflict", "conflict"] as const) faults.next(fault);
    expect(await made.vault.removeSecret(admin, "db")).toEqual({ vms: ["web"] });
    expect((await made.audit()).at(-1)).toMatchObject({ op: "secret.remove", outcome: "ok" });
  });
});

test("the store and its keys tell neither names nor values", async ({ expect }) => {
  await using made = await TestVault.open();
  await made.set("very-secret-name", "very secret value", { path: "very/secret/path" });
  await made.vm("very-secret-vm", "very-secret-name");
  const { rows } = await made.store.list("", { limit: 1000 });
  expect(rows.length).toBeGreaterThan(5);
  for (const { key, bytes } of rows) expect(`${key} ${bytes.toString("latin1")}`).not.toContain("very");
});

test("what people say of a secret changes no bundle", async ({ expect }) => {
  await using made = await TestVault.open();
  await made.set("db", "v");
  const { id } = await made.vm("web", "db");
  const revision = async (): Promise<string> => (await made.vault.resolve(guest(id), id)).manifest.revision;
  const before = await revision();
  const about = { description: "the database", labels: { team: "web" } };
  const { secret } = await made.vault.putSecret(admin, "db", "update", { about });
  expect(secret).toMatchObject({ ...about, version: 1 });
  expect(await made.vault.secrets(admin)).toEqual([secret]);
  expect(await revision()).toBe(before);
  const wrong = { about: { labels: { "a b": "" } } };
  expect(await refusal(made.vault.putSecret(admin, "db", "update", wrong))).toBe("invalid");
});
