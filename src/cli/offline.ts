// What is done on the files themselves, by this process: before there is a daemon, or where there can't be one.
import type { TrailBody, WayBody, WayQuery } from "#api";
import type { BackupContents } from "#backup";

/** Which state: a mode's own folders, or others. */
export interface StatePlace {
  mode: "system" | "session";
  /** Absolute; the mode's own when absent. */
  stateDirectory?: string;
}

/** What opens a backup: the absolute path of an age identity, or a passphrase, which stays the caller's to wipe. */
export type Opener = { identity: string } | { passphrase: Buffer };

export interface StoreSpec {
  kind: "sqlite" | "directory";
  /** Absolute; that of the configuration when absent. */
  folder?: string;
}

export interface MigrationOptions {
  removeFiles: boolean;
  askPassphrase?: (label: string) => Promise<Buffer>;
}

export interface MigrationBody {
  folder: string;
  secrets: number;
  /** Files that were written, or overwritten and removed. */
  files: number;
  /** Files that stay as they are; `why` follows the name. */
  left: { name: string; why: string }[];
  /** What is to be changed in the configuration. */
  config?: string;
}

/** All throw HatchwayError. */
export interface Offline {
  /** Checks a whole trail, all its files; `file`: absolute, the state's own when absent. */
  verifyAudit(place: StatePlace, file: string | undefined): Promise<TrailBody>;
  /** Moves all secrets to another kind of store, and compares each. Throws "locked" while a daemon has the store. */
  migrateStore(place: StatePlace, from: StoreSpec, to: StoreSpec, options: MigrationOptions): Promise<MigrationBody>;
  /** Makes the keyring of a store that is not there yet. Throws "exists". `secret` stays the caller's to wipe. */
  initKeys(place: StatePlace, name: string, way: WayQuery, secret: Buffer): Promise<{ keyring: string; way: WayBody }>;
  /** Makes the keyring again from a backup that `identity` opens; both absolute paths. Throws "exists". */
  restoreKeys(
    place: StatePlace,
    backup: string,
    identity: string,
    name: string,
    way: WayQuery,
    secret: Buffer,
  ): Promise<{ keyring: string; way: WayBody }>;
  /** Checks all of a backup, and says what it has. Throws "wrong-key", "corrupt", "unsupported". */
  readBackupContents(file: string, opener: Opener): Promise<BackupContents>;
  /** Puts a backup in the place of an empty store, and says where that is; nothing is touched before all of it was checked. Throws "exists". */
  restoreBackup(
    place: StatePlace,
    file: string,
    opener: Opener,
    askPassphrase?: (label: string) => Promise<Buffer>,
  ): Promise<BackupContents & { store_file: string }>;
  /** A backup of some of its secrets, unsealed; a piece is wiped when the next is asked for. */
  backupOf(file: string, opener: Opener, names: readonly string[]): AsyncIterable<Buffer>;
}

/** Loaded when it is needed, since it brings the vault's code. */
export type LoadOffline = () => Promise<Offline>;
