import { generateIdentity, identityToRecipient } from "age-encryption";
import { describe, test } from "vitest";
import type { BackupItem, BackupSecret } from "#backup";
import { backUp, itemsOf, unseal } from "#test/kit/backup";
import type { Store } from "#store";
import { admin, refusal, TestVault } from "#test/kit/vault";

const identity = await generateIdentity();
const to = { recipients: [await identityToRecipient(identity)] };
const opener = { path: "identity.txt", identity: Buffer.from(identity) };

async function read(file: Buffer): Promise<BackupItem[]> {
  return itemsOf(unseal(file, opener));
}

function secretsOf(items: readonly BackupItem[]): Map<string, BackupSecret> {
  return new Map(items.flatMap((item) => (item.kind === "secret" ? [[item.secret.name, item.secret]] : [])));
}

function valueOf(items: readonly BackupItem[], name: string, version: number): string | undefined {
  const found = items.find((item) => item.kind === "value" && item.name === name && item.version === version);
  return found?.kind === "value" ? found.bytes.toString() : undefined;
}

/** A listing of all secrets takes many readings, and after each of them `between` is awaited. */
function smallPages(store: Store, between: () => Promise<void>): Store {
  return {
    epoch: () => store.epoch(),
    revision: () => store.revision(),
    read: (keys) => store.read(keys),
    list: async (prefix, options) => {
      const page = await store.list(prefix, { ...options, limit: Math.min(options.limit, 20) });
      if (prefix === "secret:") await between();
      return page;
    },
    commit: (change) => store.commit(change),
    committed: (opId) => store.committed(opId),
    watch: (from, listener) => store.watch(from, listener),
    close: () => store.close(),
  };
}

describe("a backup", () => {
  for (const store of ["memory", "sqlite"] as const) {
    test(
      `of a ${store} store is the store at one revision, whatever is written meanwhile`,
      { timeout: 60_000 },
      async ({ expect }) => {
        let between: (() => Promise<void>) | undefined;
        await using made = await TestVault.open({
          store,
          around: (inner) => smallPages(inner, async () => between?.()),
        });
        const { vault } = made;
        const others = Array.from({ length: 200 }, (_, at) => `s${at}`);
        await Promise.all([...others, "left", "right"].map((name) => made.set(name, `${name} 1`)));
        await made.vm("web", "left", "right");
        const until = { over: false };
        let turns = 1;
        between = async () => {
          turns += 1;
          // Always in this order, so that at any revision `left` is at the version of `right`, or one ahead.
          await made.set("left", `left ${turns}`);
          await made.set("right", `right ${turns}`);
        };
        const churn = async (): Promise<void> => {
          for (let round = 0; !until.over; round++) {
            const name = others[(round * 7) % others.length] ?? "";
            const { version } = await vault.secret(admin, name);
            await made.set(name, `${name} ${version + 1}`);
            await made.set("brief", "brief 1");
            await vault.removeSecret(admin, "brief");
          }
        };
        const churning = churn();
        try {
          for (let round = 0; round < 3; round++) {
            const items = await read(await backUp(vault, to));
            const secrets = secretsOf(items);
            const [left, right] = ["left", "right"].map((name) => secrets.get(name)?.versions[0]?.version ?? 0);
            expect([right, (right ?? 0) + 1]).toContain(left);
            expect(secrets.size).toBeGreaterThanOrEqual(others.length + 2);
            for (const { name, versions } of secrets.values()) {
              for (const { version, size } of versions) {
                const value = valueOf(items, name, version);
                expect(value).toBe(`${name} ${version}`);
                expect(value?.length).toBe(size);
              }
            }
          }
        } finally {
          until.over = true;
          await churning;
        }
      },
    );
  }

  test("has what is removed and replaced while it is on its way", async ({ expect }) => {
    await using made = await TestVault.open({ store: "sqlite" });
    await made.set("gone", "to be removed");
    await made.set("turned", "turned 1");
    let begun = false;
    const file = await backUp(made.vault, to, undefined, async () => {
      if (begun) return;
      begun = true;
      await made.vault.removeSecret(admin, "gone");
      for (let version = 2; version <= 15; version++) await made.set("turned", `turned ${version}`);
    });
    const items = await read(file);
    expect(valueOf(items, "gone", 1)).toBe("to be removed");
    expect(valueOf(items, "turned", 1)).toBe("turned 1");
    expect(secretsOf(items).get("turned")?.versions).toHaveLength(1);
    // Nothing is held back once it is over.
    expect(await made.vault.history(admin, "turned")).toHaveLength(10);
  });

  test("has a line in the audit trail for each value, before any of it leaves", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("a", "canary one");
    await made.set("a", "canary two");
    await made.set("b", "canary three");
    const before = await made.audit();
    await backUp(made.vault, to, ["a"]);
    const lines = (await made.audit()).slice(before.length);
    const [way] = to.recipients;
    expect(
      lines.map(({ phase, op, secret, version, way: who, outcome }) => [phase, op, secret, version, who, outcome]),
    ).toEqual([
      ["intent", "backup.make", "a", undefined, way, undefined],
      ["outcome", "backup.make", "a", undefined, way, "ok"],
      ["outcome", "backup.make", "a", 2, way, "ok"],
      ["outcome", "backup.make", "a", 1, way, "ok"],
    ]);
    expect(JSON.stringify(lines)).not.toContain("canary");
  });

  test("is an admin's to make and to restore", async ({ expect }) => {
    const roles = [
      { holder: { kind: "token" as const, id: "op" }, role: "operator" as const, secrets: "*", vms: "*" },
      { holder: { kind: "token" as const, id: "part" }, role: "admin" as const, secrets: "a*", vms: "*" },
      { holder: { kind: "token" as const, id: "all" }, role: "admin" as const, secrets: "*", vms: "*" },
    ];
    await using made = await TestVault.open({ policy: { mode: "session", uid: 1000, roles } });
    await made.set("a", "value");
    for (const id of ["op", "part"]) {
      const caller = { kind: "token" as const, id };
      expect(await refusal(made.vault.backups.contents(caller, ["a"]))).toBe("forbidden");
      expect(await refusal(made.vault.backups.make(caller, ["a"], to, () => async () => undefined))).toBe("forbidden");
      const sealed = unseal(await backUp(made.vault, to, ["a"]), opener);
      expect(await refusal(made.vault.backups.restore(caller, sealed))).toBe("forbidden");
    }
    const all = { kind: "token" as const, id: "all" };
    expect(await made.vault.backups.contents(all, undefined)).toMatchObject({ bytes: 5, secrets: [{ name: "a" }] });
  });

  test("of a secret that there is not, or to nobody, is refused before anything leaves", async ({ expect }) => {
    await using made = await TestVault.open();
    let started = false;
    const start = (): (() => Promise<void>) => {
      started = true;
      return async () => undefined;
    };
    expect(await refusal(made.vault.backups.make(admin, ["none"], to, start))).toBe("not-found");
    expect(await refusal(made.vault.backups.make(admin, undefined, { recipients: ["nobody"] }, start))).toBe("invalid");
    expect(started).toBe(false);
  });
});

describe("secrets of a backup", () => {
  test("go into a store in use with their versions, times and words", async ({ expect }) => {
    await using made = await TestVault.open();
    const { vault } = made;
    await made.set("a", "one");
    await made.set("a", Buffer.from([0, 255, 10]), { path: "x/y", user: "app" });
    await vault.putSecret(admin, "a", "update", { about: { description: "what it is", labels: { team: "db" } } });
    await made.set("empty", "");
    const before = await vault.secret(admin, "a");
    const history = await vault.history(admin, "a");
    const file = await backUp(vault, to, ["empty", "a"]);
    for (const name of ["a", "empty"]) await vault.removeSecret(admin, name);
    expect(await vault.backups.restore(admin, unseal(file, opener))).toEqual(["a", "empty"]);
    expect(await vault.secret(admin, "a")).toEqual({ ...before, id: expect.stringMatching(/^[0-9a-f]{32}$/) });
    expect(await vault.history(admin, "a")).toEqual(history);
    await vault.rollbackSecret(admin, "a", 1);
    const { id } = await made.vm("web", "a", "empty");
    expect(await made.seen(id, "a")).toBe("one");
    expect(await made.seen(id, "empty")).toBe("");
  });

  test("are all taken or none: a name that is taken, or a backup that is not whole, leaves nothing", async ({
    expect,
  }) => {
    await using made = await TestVault.open();
    const { vault } = made;
    await made.set("a", "a".repeat(70_000));
    await made.set("b", "b".repeat(70_000));
    const file = await backUp(vault, to, ["a", "b"]);
    await vault.removeSecret(admin, "a");
    const restored = async (bytes: Buffer): Promise<string> =>
      refusal(vault.backups.restore(admin, unseal(bytes, opener)));
    expect(await restored(file)).toBe("exists");
    await vault.removeSecret(admin, "b");
    const rows = (await made.store.list("", { limit: 1_000 })).rows.length;
    for (const length of [file.length - 1, file.length - 70_000, 70_000]) {
      expect(await restored(file.subarray(0, length))).toBe("corrupt");
    }
    expect(await vault.secrets(admin)).toEqual([]);
    expect((await made.store.list("", { limit: 1_000 })).rows.length).toBe(rows);
    expect(await restored(file)).toBe("done");
  });

  test("of a whole backup are not taken into a store in use", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("a", "one");
    const file = await backUp(made.vault, to);
    expect(await refusal(made.vault.backups.restore(admin, unseal(file, opener)))).toBe("invalid");
  });
});
