// The newest versions of secrets, outside of the sealed store and in plain: what the `directory` store adds to the vault.
import type { Caller } from "#caller";
import type { Secret } from "#secret";

/** Where the newest version of each secret lies in plain. The vault asks it under its gate: one change of a secret at a time. */
export interface Mirror {
  /**
   * Gets `change` ready, runs `commit`, and then shows it: who finds the process killed in between finds all of it or
   * nothing once the mirror is opened again. A change that comes from the mirror's own side (a caller of kind "folder")
   * is only compared with what is there. Throws what `commit` throws, or "conflict" where somebody changed the plain
   * side meanwhile, or "unavailable"; nothing is changed then.
   */
  change(caller: Caller, change: MirrorChange, commit: () => Promise<void>): Promise<void>;
}

/** A secret that is made has no `before`, one that is removed no `after`; one that is renamed has two names. */
export interface MirrorChange {
  before?: Secret;
  after?: Secret;
  /** Of `after`; absent: the value stays. */
  value?: Buffer;
}

/** Which plain folder belongs to a store. */
export interface Binding {
  /** Absolute path. */
  folder: string;
  /** 128 random bits in hex; the folder's mark says the same. */
  id: string;
  /** `filling`: the store is still the truth; `bound`: the folder's files are. */
  state: "filling" | "bound";
}

/** What the keeper of a plain folder asks of the vault. All throw HatchwayError. */
export interface PlainSide {
  /** Whether `value` is the secret's newest value, compared in constant time. */
  holds(caller: Caller, name: string, value: Buffer): Promise<boolean>;
  /** The newest value, for the caller to wipe. A line that it leaves in plain is on disk before. */
  export(caller: Caller, name: string): Promise<Buffer>;
  /** Undefined where the store has no plain folder. */
  binding(): Promise<Binding | undefined>;
  bind(caller: Caller, binding: Binding | undefined): Promise<void>;
}
