// A keyring that is not the one that the store was last used with.
import { readFile, rm, writeFile } from "node:fs/promises";
import { test } from "vitest";
import { decodeKeyBackup } from "#vault/key-backup";
import { openKeyring, restoreKeyring } from "#vault/keyring";
import { admin, TestVault } from "#test/kit/vault";

const PASSPHRASE = Buffer.from("correct horse battery");

async function withSecret(): Promise<TestVault> {
  const made = await TestVault.open({ store: "sqlite" });
  await made.set("db", "value");
  return made;
}

test("an older keyring that is put back is refused, and the newest one opens the store again", async ({ expect }) => {
  await using made = await withSecret();
  const { keyring } = made.places;
  const older = await readFile(keyring);
  await made.vault.keys.addWay(admin, "paper", { kind: "passphrase", passphrase: PASSPHRASE });
  const withPaper = await readFile(keyring);
  await made.vault.keys.removeWay(admin, "paper");
  const newest = await readFile(keyring);
  await made.stop();
  for (const old of [older, withPaper]) {
    await writeFile(keyring, old);
    await expect(made.start()).rejects.toMatchObject({
      code: "corrupt",
      message: `the keyring "${keyring}" is older than the store: it was put back`,
      hint: "put back the newest keyring.json of this store, or make it again: hatchway key restore",
    });
  }
  await writeFile(keyring, newest);
  await made.start();
  expect((await made.vault.secrets(admin)).length).toBe(1);
});

test("a keyring without the newest term, or whose term was forgotten too early, is said to be that", async ({
  expect,
}) => {
  await using made = await withSecret();
  const { keyring } = made.places;
  const older = await readFile(keyring);
  await made.vault.keys.rotate(admin);
  await made.set("db", "under term 2");
  const newest = await readFile(keyring);
  await made.stop();
  const hint = "put back the newest keyring.json of this store";
  await writeFile(keyring, older);
  await expect(made.start()).rejects.toMatchObject({
    code: "corrupt",
    message: "a row is sealed under term 2, which the keyring does not have: the keyring is older, its newest is 1",
    hint,
  });
  await writeFile(keyring, newest);
  {
    using ring = await openKeyring(keyring, made.places);
    await ring?.dropTerm(1);
  }
  await made.start();
  const refused = made.vault.rollbackSecret(admin, "db", 1);
  await expect(refused).rejects.toMatchObject({
    code: "corrupt",
    message: "a row is sealed under term 1, which the keyring does not have: it was retired",
    hint,
  });
});

test("a keyring that is made again from an older backup opens the store, and none from before it does", async ({
  expect,
}) => {
  await using made = await withSecret();
  const { places } = made;
  const text = await openKeyring(places.keyring, places).then((ring) => ring?.exportKeys());
  for (let edits = 0; edits < 3; edits++) {
    await made.vault.keys.addWay(admin, `paper-${edits}`, { kind: "key-file", path: `${places.keyFile}.${edits}` });
  }
  const newest = await readFile(places.keyring);
  await made.stop();
  await rm(places.keyring);
  await restoreKeyring(
    places.keyring,
    decodeKeyBackup(text ?? Buffer.alloc(0)),
    places,
    { kind: "key-file" },
    "key-file",
  );
  await made.start();
  await made.set("db", "other");
  await made.stop();
  await writeFile(places.keyring, newest);
  await expect(made.start()).rejects.toMatchObject({ code: "corrupt" });
});
