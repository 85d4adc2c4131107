// What the sealed records hold, as JSON. Fields are added, never reused with another meaning.
import type { Grant } from "#grant";
import type { Secret } from "#secret";
import type { Alarm, Receipt, Vm } from "#vm";

/** One version of a value. */
export interface VersionRecord {
  version: number;
  size: number;
  /** When this version of the value came, in milliseconds since 1970. */
  valueAt: number;
  /** The value holds a NUL byte, so it cannot become an environment variable. */
  hasNul: boolean;
}

/** `secret:NAME` */
export interface SecretRecord extends Secret, VersionRecord {
  /** Older versions whose values are kept, newest first. */
  history?: VersionRecord[];
}

/** `renamed:SECRET` */
export interface RenamedRecord {
  /** The secret's name now, for grants that still say an older one. */
  name: string;
}

/** `vm:NAME` */
export type VmRecord = Vm;

/** `grants:VM` */
export interface GrantsRecord {
  vmName: string;
  grants: Grant[];
}

/** `holder:SECRET:VM` */
export interface HolderRecord {
  vmName: string;
}

/** Of a token, which itself is not kept. */
export interface EnrolmentRecord {
  /** 16 random bytes, in hex: the token is made of it and the keyring. */
  id: string;
  /** Boots for which it may be used besides this one. */
  reboots: number;
  /** SHA-256 of the guest's key that has used it in this generation; hex. */
  owner?: string;
  /** This boot was one too many. */
  spent?: true;
}

/** `ledger:VM` */
export interface LedgerRecord {
  vmName: string;
  /** Boots that the host saw, from 1. */
  generation: number;
  /** Counts the different bundles that this VM was to have. */
  counter: number;
  /** SHA-256 of the manifest at `counter`, its revision left empty; hex. */
  digest: string;
  /** By secret id: its version and name at `counter`, and the counter at which they came. */
  entries: Record<string, { version: number; name?: string; since: number }>;
  /** The newest counter whose bundle left for this generation. */
  disclosed: number;
  /** SHA-256 of the key that claimed this generation; hex. */
  claim?: string;
  applied?: Receipt;
  /** Of a VM that enrols. */
  enrolment?: EnrolmentRecord;
  alarms: Alarm[];
}
