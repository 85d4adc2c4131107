// A whole backup in the place of a store that is empty, or not there. The new store is built in a folder beside it, and
// renamed into place as one file once it is whole: who is killed before leaves an empty store, and after it a whole one.
import { existsSync, statSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { BackupContents } from "#backup";
import type { Caller } from "#caller";
import { BackupFile, type Opener } from "#daemon/backup-file";
import { placesOf, waySources, type StatePlace } from "#daemon/places";
import { HatchwayError } from "#error";
import { ownUid, privateDirectory, syncFolder } from "#host/files";
import { StoreLock } from "#store/lock";
import { checkPlace } from "#store/place";
import { openSqliteStore } from "#store/sqlite";
import { restoreStore } from "#vault/restore";

/** Puts a backup into a state without a store, or with an empty one. Nothing is touched before all of it was checked. */
export async function restoreState(
  place: StatePlace,
  path: string,
  opener: Opener,
  askPassphrase?: (label: string) => Promise<Buffer>,
): Promise<BackupContents & { store_file: string }> {
  const places = placesOf(place);
  const target = join(places.state, "store.db");
  await mustBeEmpty(target);
  const empty = fingerprint(target);
  await using backup = await BackupFile.open(path, opener);
  const contents = await backup.contents();
  await privateDirectory(places.state);
  await checkPlace(target, true);
  using held = new DisposableStack();
  held.use(new StoreLock(target));
  // Between the look and the lock somebody may have used it.
  mustBeUnchanged(target, empty);
  const beside = join(places.state, "restore.partial");
  await rm(beside, { recursive: true, force: true });
  try {
    const store = await openSqliteStore(join(beside, "store.db"), { create: true });
    try {
      const files = {
        ...waySources(places),
        ...(askPassphrase && { askPassphrase }),
        keyring: join(places.state, "keyring.json"),
        audit: join(places.state, "audit.jsonl"),
      };
      const self: Caller = { kind: "embedded", uid: ownUid(), purpose: "restore" };
      await restoreStore(store, files, self, backup.items());
    } finally {
      await store.close();
    }
    // Of an empty store that was not closed; they must not meet the new one.
    for (const left of ["-wal", "-shm"]) await rm(`${target}${left}`, { force: true });
    await rename(join(beside, "store.db"), target);
    await syncFolder(places.state);
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
  return { ...contents, store_file: target };
}

/** Throws "exists" where there is a store with anything in it, "locked" where one is in use. */
async function mustBeEmpty(target: string): Promise<void> {
  if (!existsSync(target) || isUnused(target)) return;
  const store = await openSqliteStore(target, { create: false });
  const revision = await store.revision();
  await store.close();
  if (revision === 0) return;
  throw new HatchwayError("exists", `the store "${target}" is not empty: a backup is restored into an empty one`, {
    hint: "move its folder away, or name another with: --state; into a running daemon: --only NAME",
  });
}

function mustBeUnchanged(target: string, before: string): void {
  if (fingerprint(target) === before || isUnused(target)) return;
  throw new HatchwayError("locked", `the store "${target}" was used meanwhile`, {
    hint: "stop its daemon, then try again",
  });
}

/** Whether it is the file that is made before the first store is in it. */
function isUnused(target: string): boolean {
  return statSync(target).size === 0 && !existsSync(`${target}-wal`);
}

/** Changes with any write to the store. */
function fingerprint(target: string): string {
  return [target, `${target}-wal`]
    .map((path) => statSync(path, { throwIfNoEntry: false, bigint: true }))
    .map((stat) => (stat ? `${stat.ino} ${stat.size} ${stat.mtimeNs}` : "none"))
    .join(", ");
}
