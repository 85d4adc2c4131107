// What is done on a state's files without a daemon: the other side of src/cli/offline.ts.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { HatchwayError } from "#error";
import type { BackupContents } from "#backup";
import { BackupFile, type Opener } from "#daemon/backup-file";
import { placesOf, waySources, type StatePlace } from "#daemon/places";
import { restoreState } from "#daemon/restore";
import { errnoText, privateDirectory, readPrivateFile } from "#host/files";
import { newWay, type Way, type WayParts } from "#keys";
import { verifyTrail } from "#vault/audit-chain";
import { segmentsOf } from "#vault/audit-files";
import { ageOpen } from "#vault/age";
import { decodeKeyBackup, wipeKeys } from "#vault/key-backup";
import { checkWayName, createKeyring, openKeyring, restoreKeyring } from "#vault/keyring";
import type { WaySources } from "#vault/ways";
import type { TrailSummary } from "#trail";

export { migrateStore } from "#daemon/migrate-store";

/** Makes the keyring of a store that is not there yet. */
export async function initKeys(
  place: StatePlace,
  name: string,
  parts: WayParts,
  secret: Buffer,
): Promise<{ keyring: string; way: Way }> {
  const { path, store, sources } = keyringPlace(place, name);
  for (const file of [path, store]) {
    if (existsSync(file)) {
      throw new HatchwayError("exists", `there is "${file}" already`, {
        hint: "add a way to its keys with: hatchway key add-way",
      });
    }
  }
  await makeFolders([path, sources.keyFile]);
  using keyring = await createKeyring(path, sources, newWay(parts, secret), name);
  const [way] = keyring.ways;
  if (!way) throw new HatchwayError("internal", "a keyring was made without a way");
  return { keyring: path, way };
}

/** Makes the keyring again from a backup, with one way to it. */
export async function restoreKeys(
  place: StatePlace,
  backup: string,
  identity: string,
  name: string,
  parts: WayParts,
  secret: Buffer,
): Promise<{ keyring: string; way: Way }> {
  const { path, sources } = keyringPlace(place, name);
  if (existsSync(path)) {
    throw new HatchwayError("exists", `there is a keyring "${path}" already`, {
      hint: "move it away if it is not the one that you want",
    });
  }
  const [sealed, opener] = await Promise.all([readBackup(backup), readPrivateFile(identity, 65_536)]);
  if (!opener) throw new HatchwayError("invalid", `there is no age identity "${identity}"`);
  const text = await ageOpen(identity, opener, sealed);
  opener.fill(0);
  const keys = decodeKeyBackup(text);
  text.fill(0);
  try {
    await makeFolders([path, sources.keyFile]);
    return { keyring: path, way: await restoreKeyring(path, keys, sources, newWay(parts, secret), name) };
  } finally {
    wipeKeys(keys);
  }
}

/** Where the keyring of a state is to be, whose first way has this name; throws "invalid" for one that is no name. */
function keyringPlace(place: StatePlace, name: string): { path: string; store: string; sources: WaySources } {
  checkWayName(name);
  const places = placesOf(place);
  const file = (own: string): string => join(places.state, own);
  return { path: file("keyring.json"), store: file("store.db"), sources: waySources(places) };
}

async function makeFolders(files: readonly string[]): Promise<void> {
  for (const file of files) await privateDirectory(dirname(file));
}

async function readBackup(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new HatchwayError("invalid", `cannot read "${path}": ${errnoText(cause)}`, { cause });
  }
}

/** Checks a whole trail; `file` is that of the state when absent. */
export async function verifyAudit(place: StatePlace, file: string | undefined): Promise<TrailSummary> {
  const places = placesOf(place);
  const path = join(places.state, "keyring.json");
  using keyring = await openKeyring(path, waySources(places));
  if (!keyring) {
    throw new HatchwayError("not-found", `there is no keyring "${path}", so the trail cannot be checked`, {
      hint: "name the state folder with: --state",
    });
  }
  // Awaited here: the keys are wiped when this returns.
  const trail = file ?? join(places.state, "audit.jsonl");
  return await verifyTrail(trail, await segmentsOf(trail), keyring.auditKey);
}

/** Checks all of a backup, and says what it has. */
export async function readBackupContents(file: string, opener: Opener): Promise<BackupContents> {
  await using backup = await BackupFile.open(file, opener);
  // Awaited here: the file is closed when this returns.
  return await backup.contents();
}

/** Puts a backup in the place of an empty store. */
export function restoreBackup(
  place: StatePlace,
  file: string,
  opener: Opener,
  askPassphrase?: (label: string) => Promise<Buffer>,
): Promise<BackupContents & { store_file: string }> {
  return restoreState(place, file, opener, askPassphrase);
}

/** A backup of some of its secrets, unsealed. */
export async function* backupOf(file: string, opener: Opener, names: readonly string[]): AsyncGenerator<Buffer> {
  await using backup = await BackupFile.open(file, opener);
  yield* backup.only(names);
}
