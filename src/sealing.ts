import type { Caller } from "#caller";
import type { KeysStatus, Opener } from "#keys";

/**
 * The lid over a vault. While it is sealed there is no key in memory, every operation of the vault throws "sealed", and
 * VMs go on with what they have. All throw HatchwayError.
 */
export interface Sealing {
  readonly isSealed: boolean;
  /**
   * Ends what is under way, and wipes every key with all that was read by it. The line in the audit trail comes first.
   * Throws "sealed" where it is.
   */
  seal(caller: Caller): Promise<void>;
  /**
   * Opens the keys again, by what somebody brings or else by the ways that ask nobody, and checks store and audit trail
   * as a start does. Says by which way. Throws "conflict" where they are open, "wrong-key" and "rate-limited" where they
   * stay sealed.
   */
  unseal(caller: Caller, opener: Opener | undefined): Promise<{ way: string }>;
  /** The ways and terms of keys that are sealed; nothing vouches for them until they are opened. */
  status(caller: Caller): Promise<KeysStatus>;
}
