import type { Caller } from "#caller";
import type { Delivery, DeliveryChange } from "#secret";
import type { Adoption, LaunchOptions, Runner } from "#vm";

// What a backup's JSON files say (docs/formats.md). Times are RFC 3339 in UTC, to the millisecond.

/** `backup.json`, the first file. */
export interface BackupHead {
  format: 1;
  /** The version that made it. */
  hatchway: string;
  made_at: string;
  /** The store as of whose revision everything in it is. */
  store: { epoch: string; revision: number };
  /** The secrets that were asked for, where it was not all; then no VMs are in it. */
  only?: string[];
  secrets: number;
  vms: number;
  /** Versions of all secrets. */
  values: number;
  /** Of all values. */
  bytes: number;
}

/** A version of a value. */
export interface BackupVersion {
  version: number;
  /** Bytes. */
  size: number;
  at: string;
}

/** `secrets/NAME.json`; the values follow it, in the order of `versions`. */
export interface BackupSecret {
  name: string;
  created_at: string;
  modified_at: string;
  description?: string;
  labels?: Record<string, string>;
  default?: true;
  delivery: Delivery;
  /** All that are kept, newest first. */
  versions: BackupVersion[];
}

/** One secret that a VM was given. */
export interface BackupGrant {
  /** By the name that it has in this backup. */
  secret: string;
  /** What differs from the secret's own delivery. */
  change: DeliveryChange;
  pin?: number;
  attached_at: string;
}

/** `vms/NAME.json` */
export interface BackupVm {
  name: string;
  created_at: string;
  runner: Runner;
  group?: string;
  launch?: LaunchOptions;
  adopted?: Adoption;
  cid?: number;
  grants: BackupGrant[];
}

/** The files of a backup, in their order: head, each secret with its values, VMs. */
export type BackupItem =
  | { kind: "head"; head: BackupHead }
  | { kind: "secret"; secret: BackupSecret }
  /** `bytes` is wiped when the next item is asked for. */
  | { kind: "value"; name: string; version: number; bytes: Buffer }
  | { kind: "vm"; vm: BackupVm };

/** What a backup has, or would have. */
export interface BackupContents {
  store: { epoch: string; revision: number };
  /** By name; `bytes` of all its values. */
  secrets: { name: string; versions: number; bytes: number }[];
  vms: string[];
  /** Of all values. */
  bytes: number;
}

/** Who can open a backup: age recipients (age1…), or who knows a passphrase. */
export type BackupReaders = { recipients: readonly string[] } | { passphrase: Buffer };

/** Takes bytes, and resolves when it no longer needs them. */
export type ByteSink = (bytes: Buffer) => Promise<void>;

/** Secrets out of the store and into it, sealed. All throw HatchwayError. */
export interface Backups {
  /** What a backup of these secrets, or of everything, would have now. Throws "not-found". */
  contents(caller: Caller, only: readonly string[] | undefined): Promise<BackupContents>;
  /**
   * Writes a backup as of one revision, an age file. `start` is told its size and gives the sink, once all that can be
   * refused has been. Each value has its line in the audit trail before a byte of it leaves.
   */
  make(
    caller: Caller,
    only: readonly string[] | undefined,
    readers: BackupReaders,
    start: (size: number) => ByteSink,
  ): Promise<void>;
  /**
   * Takes the secrets of a backup in, which comes unsealed, and answers their names: all of them or none. Throws
   * "exists" where one of the names is taken, "corrupt" for a backup that is not whole.
   */
  restore(caller: Caller, backup: AsyncIterable<Buffer>): Promise<string[]>;
}
