import type { Caller } from "#caller";
import { HatchwayError, type ErrorCode } from "#error";

/** What is needed to add a way to the root key. A buffer stays the caller's, who wipes it. */
export type NewWay =
  /** A file of 32 bytes, 0600; made where there is none. The store's own when there is no path. */
  | { kind: "key-file"; path?: string }
  /** A key of 32 bytes that systemd puts into `$CREDENTIALS_DIRECTORY` under that name (systemd.exec(5)). */
  | { kind: "systemd-credential"; credential: string; key: Buffer }
  /** An age recipient, and the file with the identity that opens what is sealed to it. */
  | { kind: "age"; recipient: string; identity: string }
  | { kind: "passphrase"; passphrase: Buffer };

export type WayKind = NewWay["kind"];

/** What somebody brings to open the keys once: a key file's bytes, an age identity's text, or a passphrase. */
export interface Opener {
  kind: "key-file" | "age" | "passphrase";
  /** Stays his, and he wipes it. */
  secret: Buffer;
}

/** A way as it may be seen. */
export interface Way {
  name: string;
  kind: WayKind;
  /** What it takes: a file, a credential's name, a recipient. */
  needs: string;
}

export interface Term {
  term: number;
  /** Rows that are sealed under it, old versions of values included. */
  rows: number;
  /** Milliseconds since 1970. */
  created: number;
}

export interface KeysStatus {
  /** Whether the keys are wiped, and nothing can be read. */
  sealed: boolean;
  /** The name of the way that opened them, where they are not sealed. */
  openedBy?: string;
  ways: Way[];
  /** The term that new seals are made under. */
  current: number;
  terms: Term[];
}

/** How far a rewrap is. */
export interface RewrapProgress {
  state: "idle" | "running" | "done" | "failed";
  /** Rows that were sealed anew. */
  done: number;
  /** Rows that this pass has looked at. */
  seen: number;
  /** Why it failed. */
  problem?: string;
}

/** A refusal that has no line yet. */
export interface Missed {
  caller: Caller;
  operation: "admin.enter" | "key.status" | "key.unseal";
  outcome: ErrorCode;
}

/**
 * The keys of the store. The root key can be reached by several ways at once, each of which is enough. All throw
 * HatchwayError.
 */
export interface Keys {
  /** The name of the way that opened them. */
  readonly openedBy: string;
  status(caller: Caller): Promise<KeysStatus>;
  /** Throws "exists" for a name that a way has. */
  addWay(caller: Caller, name: string, way: NewWay): Promise<Way>;
  /** Throws "conflict" for the last way. What was sealed by it before, in a copy of the keyring, it still opens. */
  removeWay(caller: Caller, name: string): Promise<void>;

  /** Makes a new term for new seals, and says its number. What there is stays under the term that it has. */
  rotate(caller: Caller): Promise<number>;
  /** Begins to bring everything under the current term, in the background; a killed process goes on at its next start. */
  rewrap(caller: Caller): Promise<void>;
  rewrapProgress(caller: Caller): Promise<RewrapProgress>;
  /** Forgets a term. Throws "conflict" for the current one, and while anything is sealed under it. */
  retire(caller: Caller, term: number): Promise<void>;

  /** Leaves the lines of a seal that is about to come, or of an unseal that was. */
  mark(caller: Caller, what: "key.seal" | "key.unseal", way?: string): Promise<void>;
  /** Leaves a line for each who was refused while there was no key to write one. */
  missed(refused: readonly Missed[]): Promise<void>;

  /** All that opens the store, sealed to an age recipient: an age file (src/vault/key-backup.ts). */
  backup(caller: Caller, recipient: string): Promise<Buffer>;
}

/** A way as a request words it. */
export interface WayParts {
  kind: WayKind;
  path?: string | undefined;
  credential?: string | undefined;
  recipient?: string | undefined;
  identity?: string | undefined;
}

/** Puts together what was said of a way. Throws "invalid" where a part is missing. `secret` stays the caller's to wipe. */
export function newWay({ kind, path, credential, recipient, identity }: WayParts, secret: Buffer): NewWay {
  if (kind === "key-file") return { kind, ...(path !== undefined && { path }) };
  if (kind === "passphrase") return { kind, passphrase: secret };
  if (kind === "systemd-credential") {
    if (credential === undefined) throw new HatchwayError("invalid", "a way by credential lacks the credential's name");
    return { kind, credential, key: secret };
  }
  if (recipient === undefined || identity === undefined) {
    throw new HatchwayError("invalid", "a way by age lacks its recipient or the path of its identity");
  }
  return { kind, recipient, identity };
}
