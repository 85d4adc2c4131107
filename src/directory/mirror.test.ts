// What a killed process left in the folder, at each step of a change, and what the next start makes of it.
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { admin, TestVault } from "#test/kit/vault";
import { hold, place, stage } from "./staging.ts";
import { DirectoryStore } from "./store.ts";

const uid = process.geteuid?.() ?? 0;
const gid = process.getegid?.() ?? 0;
const OURS = { mode: 0o600, uid, gid };

/** A vault with the secret "db" of value "one", and the folder that it is in. */
async function opened(): Promise<{ made: TestVault; folder: string; reopen: () => Promise<DirectoryStore> }> {
  const folder = join(await mkdtemp(join(tmpdir(), "hatchway-folder-")), ".secrets");
  onTestFinished(() => rm(join(folder, ".."), { recursive: true }));
  const made = await TestVault.open();
  onTestFinished(() => made[Symbol.asyncDispose]());
  const open = async (): Promise<DirectoryStore> => {
    const store = new DirectoryStore(folder, { write: () => undefined, report: () => undefined });
    await store.open(made.vault);
    await store.close();
    return store;
  };
  await open();
  await writeFile(join(folder, "db"), "one", { mode: 0o600 });
  await open();
  return { made, folder, reopen: open };
}

async function files(folder: string): Promise<Record<string, string>> {
  const names = (await readdir(folder)).filter((name) => name !== ".hatchway-store").toSorted();
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), "utf8")])),
  );
}

test("a file that was staged is let go of unless the vault committed it", async ({ expect }) => {
  const { made, folder, reopen } = await opened();
  await stage(folder, "db", Buffer.from("two"), OURS);
  await stage(folder, "new", Buffer.from("new"), OURS);
  await stage(folder, "db", Buffer.from("one"), { ...OURS, mode: 0o400 });
  await reopen();
  expect(await files(folder)).toEqual({ db: "one" });
  expect(await made.vault.secret(admin, "db")).toMatchObject({ version: 1, delivery: { mode: "0600" } });

  await stage(folder, "db", Buffer.from("two"), OURS);
  await made.set("db", "two");
  await reopen();
  expect(await files(folder)).toEqual({ db: "two" });
  expect(await made.vault.secret(admin, "db")).toMatchObject({ version: 2 });
});

test("a file that somebody has changed since is not replaced by one that was staged", async ({ expect }) => {
  const { made, folder, reopen } = await opened();
  await stage(folder, "db", Buffer.from("two"), OURS);
  await made.set("db", "two");
  await new Promise((resolve) => setTimeout(resolve, 20));
  await writeFile(join(folder, "db"), "by hand");
  await reopen();
  expect(await files(folder)).toEqual({ db: "by hand" });
  expect(await made.vault.secret(admin, "db")).toMatchObject({ version: 3, size: 7 });
});

test("a renaming is finished once it is committed, and undone before", async ({ expect }) => {
  const { made, folder, reopen } = await opened();
  await made.vm("web-1", "db");
  await stage(folder, "shop", Buffer.from("one"), OURS, "db");
  await hold(folder, "db");
  await rm(join(folder, (await readdir(folder)).find((name) => name.includes("gone")) ?? ""));
  await reopen();
  expect(await files(folder)).toEqual({ db: "one" });

  await stage(folder, "shop", Buffer.from("one"), OURS, "db");
  await hold(folder, "db");
  await made.vault.renameSecret(admin, "db", "shop");
  await reopen();
  expect(await files(folder)).toEqual({ shop: "one" });
  expect((await made.vault.secrets(admin)).map(({ name }) => name)).toEqual(["shop"]);
  expect(await made.vault.holders(admin, "shop")).toEqual(["web-1"]);
});

test("a removal is finished once it is committed, and undone before", async ({ expect }) => {
  const { made, folder, reopen } = await opened();
  await hold(folder, "db");
  await reopen();
  expect(await files(folder)).toEqual({ db: "one" });
  await hold(folder, "db");
  await made.vault.removeSecret(admin, "db");
  await reopen();
  expect(await files(folder)).toEqual({});
  expect(await made.vault.secrets(admin)).toEqual([]);
});

test("a removal takes no file away that somebody has put there since", async ({ expect }) => {
  const { made, folder, reopen } = await opened();
  await hold(folder, "db");
  await made.vault.removeSecret(admin, "db");
  await rm(join(folder, "db"));
  await writeFile(join(folder, "db"), "another", { mode: 0o600 });
  await reopen();
  expect(await files(folder)).toEqual({ db: "another" });
  expect(await made.vault.secret(admin, "db")).toMatchObject({ version: 1, size: 7 });
});

test("what was placed is taken for what the secret is, and not for a change", async ({ expect }) => {
  const { made, folder, reopen } = await opened();
  await made.set("db", "two");
  await place(await stage(folder, "db", Buffer.from("two"), OURS), folder, "db");
  await chmod(join(folder, "db"), 0o600);
  await reopen();
  expect(await made.vault.secret(admin, "db")).toMatchObject({ version: 2 });
});
