// `hatchway store migrate`: by this process, on a store that no daemon has.
import { join } from "node:path";
import type { Caller } from "#caller";
import { readConfig, secretsFolder, type Config } from "#daemon/config";
import { placesOf, waySources, type StatePlace } from "#daemon/places";
import { fromDirectory, toDirectory, type Migration } from "#directory/migrate";
import { DirectoryStore } from "#directory/store";
import { HatchwayError } from "#error";
import { ownUid } from "#host/files";
import { hideMemory } from "#host/libc";
import type { Mirror } from "#mirror";
import type { Places } from "#places";
import type { Store } from "#store";
import { openSqliteStore } from "#store/sqlite";
import type { Vault } from "#vault";
import type { Policy } from "#vault/authorise";
import { openVault } from "#vault/open";

export interface StoreSpec {
  kind: "sqlite" | "directory";
  /** Absolute; that of the configuration when absent. */
  folder?: string;
}

export interface MigrationOptions {
  /** Of directory to sqlite: take the plain files away. */
  removeFiles: boolean;
  askPassphrase?: (label: string) => Promise<Buffer>;
}

/** Moves all secrets; `config` says what is to be changed in the configuration then. Throws "locked" while a daemon runs. */
export async function migrateStore(
  place: StatePlace,
  from: StoreSpec,
  to: StoreSpec,
  { removeFiles, askPassphrase }: MigrationOptions,
): Promise<Migration & { config?: string }> {
  process.umask(0o077);
  hideMemory();
  const places = placesOf(place);
  const config = await readConfig(places.config);
  const folder = (to.kind === "directory" ? to.folder : from.folder) ?? secretsFolder(config, places);
  // What is wrong with single files is in the answer.
  const store = new DirectoryStore(folder, { write: () => undefined, report: () => undefined });
  const isExport = to.kind === "directory";
  const disk: { failed?: HatchwayError } = {};
  const vault = await openStopped(place, places, {
    ...(!isExport && { mirror: store.mirror }),
    ...(askPassphrase && { askPassphrase }),
    onFatal: (error) => (disk.failed ??= error),
  });
  let migrated: Migration;
  try {
    const purpose = `store migrate to ${isExport ? `directory:${folder}` : "sqlite"}`;
    const caller: Caller = { kind: "embedded", uid: ownUid(), purpose };
    migrated = isExport
      ? await toDirectory(vault, caller, store)
      : await fromDirectory(vault, caller, store, removeFiles);
  } finally {
    await vault.close();
  }
  if (disk.failed) {
    throw new HatchwayError("unavailable", `the migration may not be on the disk: ${disk.failed.message}`, {
      hint: "mend the disk, and run this again",
      cause: disk.failed,
    });
  }
  const advice = adviceOf(config, places, to.kind, folder);
  return { ...migrated, ...(advice !== undefined && { config: advice }) };
}

interface Opening {
  /** Of directory to sqlite. */
  mirror?: Mirror;
  askPassphrase?: MigrationOptions["askPassphrase"];
  onFatal: (error: HatchwayError) => void;
}

async function openStopped(
  { mode }: StatePlace,
  places: Places,
  { mirror, askPassphrase, onFatal }: Opening,
): Promise<Vault> {
  const sealed = await openSealed(join(places.state, "store.db"), onFatal);
  const files = {
    ...waySources(places),
    ...(askPassphrase && { askPassphrase }),
    keyring: join(places.state, "keyring.json"),
    audit: join(places.state, "audit.jsonl"),
  };
  const policy: Policy = mode === "system" ? { mode } : { mode, uid: ownUid() };
  try {
    return await openVault(sealed, files, policy, { onFatal, ...(mirror && { mirror }) });
  } catch (error) {
    await sealed.close();
    throw error;
  }
}

async function openSealed(path: string, onFatal: Opening["onFatal"]): Promise<Store> {
  try {
    return await openSqliteStore(path, { create: false, onFatal });
  } catch (cause) {
    if (!(cause instanceof HatchwayError) || cause.code !== "locked") throw cause;
    throw new HatchwayError("locked", cause.message, { hint: "stop the daemon first: hatchway stop", cause });
  }
}

/** What the configuration does not say yet. */
function adviceOf(config: Config, places: Places, kind: StoreSpec["kind"], folder: string): string | undefined {
  const { store } = config;
  if (kind === "sqlite") {
    return store.kind === "directory" ? `to serve from it, take store: directory out of ${places.config}` : undefined;
  }
  if (store.kind === "directory" && secretsFolder(config, places) === folder) return undefined;
  const usual = secretsFolder({ ...config, store: { kind: "directory" } }, places) === folder;
  return `to serve from it, set in ${places.config}: store: directory${usual ? "" : ` and secrets-folder: ${folder}`}`;
}
