// What somebody who can write the store's file, and has no keys, makes of a whole vault: it is refused, and says why.
import { copyFile, cp, rm } from "node:fs/promises";
import { test } from "vitest";
import { openSqliteStore } from "#store/sqlite";
import { deleteRaw, forgeOperations, putRaw, type RawRow, rawRows } from "#test/kit/tamper";
import { admin, TestVault } from "#test/kit/vault";
import type { AuditAnchor } from "#vault/audit";
import { openKeyring } from "#vault/keyring";
import { Rows } from "#vault/rows";

type Refusal = Error & { code?: string };

/** The answer as JSON, or the code and message of the refusal. */
async function told(act: () => Promise<unknown>): Promise<string> {
  return act().then(
    (answer) => JSON.stringify(answer),
    ({ code, message }: Refusal) => `${code}: ${message}`,
  );
}

/** What each way to look at the vault gives. */
async function seen(made: TestVault, vmId: string): Promise<Record<string, string>> {
  const { vault } = made;
  return {
    secrets: await told(() => vault.secrets(admin)),
    grants: await told(() => vault.grants(admin, "web")),
    holders: await told(() => vault.holders(admin, "third")),
    convergence: await told(() => vault.convergence(admin, vmId)),
    value: await told(() => made.seen(vmId, "db")),
    rename: await told(() => vault.renameSecret(admin, "third", "fourth")),
  };
}

/** A vault with a row of nearly every kind, changed since the rows were as `before` says; stopped. */
async function changed(): Promise<{ made: TestVault; vmId: string; before: RawRow[] }> {
  const made = await TestVault.open({ store: "sqlite" });
  await made.set("db", "old value");
  await made.set("other", "1");
  await made.vault.renameSecret(admin, "other", "another");
  const { id } = await made.vm("web", "db", "another");
  await made.seen(id, "db");
  await made.stop();
  const before = rawRows(made.storeFile, "");
  await made.start();
  await made.vault.detach(admin, "web", "another");
  await made.set("db", "new value");
  await made.vault.renameSecret(admin, "another", "third");
  await made.seen(id, "db");
  await made.stop();
  return { made, vmId: id, before };
}

test("a row of any kind that is put back is refused, and nothing of it is served", async ({ expect }) => {
  const { made, vmId, before } = await changed();
  await using _ = made;
  const state = `${made.folder}/state`;
  await cp(state, `${state}.whole`, { recursive: true });
  const now = new Map(rawRows(made.storeFile, "").map((row) => [row.key, row]));
  const old = before.filter(({ key, version }) => now.get(key)?.version !== version && !key.startsWith("!tree"));
  const kinds = new Set(old.map(({ key }) => key.replace(/:.*/, "")));
  expect([...kinds].toSorted()).toEqual(["grants", "head", "holder", "ledger", "renamed", "secret"]);
  for (const row of old) {
    putRaw(made.storeFile, [row]);
    const refusal = expect.stringMatching(
      new RegExp(`^corrupt: row "${row.key}" is (older than what was last|in the store and was never) written`),
    ) as string;
    const start = await told(() => made.start());
    if (row.key === "head") expect(start).toEqual(refusal);
    else {
      const answers = await seen(made, vmId);
      expect(Object.values(answers), row.key).toContainEqual(refusal);
      expect(answers["value"]).not.toBe('"old value"');
      await made.stop();
    }
    await rm(state, { recursive: true });
    await cp(`${state}.whole`, state, { recursive: true });
  }
});

test("a store put back as a whole is refused, though it says that it did what the trail says", async ({ expect }) => {
  await using made = await TestVault.open({ store: "sqlite" });
  await made.set("db", "one");
  await made.stop();
  await copyFile(made.storeFile, `${made.storeFile}.old`);
  await made.start();
  await made.set("db", "two");
  await made.stop();
  const opIds = [...new Set((await made.audit()).map(({ opId }) => opId))];
  const put = async (revision: number): Promise<void> => {
    await copyFile(`${made.storeFile}.old`, made.storeFile);
    forgeOperations(made.storeFile, revision, opIds);
  };
  await put(2);
  await expect(made.start()).rejects.toMatchObject({
    code: "corrupt",
    message: expect.stringMatching(
      /^the store is older than the audit trail: it lacks the change of line \d+$/,
    ) as string,
  });
  await put(4);
  await expect(made.start()).rejects.toMatchObject({
    code: "corrupt",
    message: "the store says that its revision is 4, and its tree that it is 2",
  });
});

/** Makes the store one of a time when there was no tree: what the head says is all that knows of it. */
async function takeTreeAway(made: TestVault): Promise<void> {
  using keyring = await openKeyring(made.places.keyring, made.places);
  if (!keyring) throw new Error("there is no keyring");
  const store = await openSqliteStore(made.storeFile, { create: false });
  const rows = new Rows(store, keyring);
  const { settled, newest } = (await rows.getBlind<AuditAnchor>("head")) as AuditAnchor;
  const head = rows.putBlind("head", { settled, newest });
  await store.commit({ opId: "before", expect: [], put: [head], delete: [] });
  await store.close();
  dropTree(made);
}

function dropTree(made: TestVault): void {
  const keys = rawRows(made.storeFile, "!tree").map(({ key }) => key);
  deleteRaw(made.storeFile, keys);
}

test("a store of a time without a tree gets one, and no other can pretend to be such", async ({ expect }) => {
  await using made = await TestVault.open({ store: "sqlite" });
  for (let number = 0; number < 40; number++) await made.set(`s${number}`, `value ${number}`);
  const { id } = await made.vm("web", "s1", "s7");
  await made.stop();
  await takeTreeAway(made);
  const old = rawRows(made.storeFile, "head");
  await made.start();
  expect(await made.seen(id, "s7")).toBe("value 7");
  expect((await made.vault.secrets(admin)).length).toBe(40);
  await made.set("s7", "newer");
  expect(await made.seen(id, "s7")).toBe("newer");
  await made.stop();
  expect(rawRows(made.storeFile, "!tree:").length).toBeGreaterThan(1);

  dropTree(made);
  const lacks = { code: "corrupt", message: "the store lacks the tree over its rows" };
  await expect(made.start()).rejects.toMatchObject(lacks);
  putRaw(made.storeFile, old);
  await expect(made.start()).rejects.toMatchObject(lacks);
});
