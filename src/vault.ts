import type { AboutChange } from "#about";
import type { Backups } from "#backup";
import type { Bundle } from "#bundle";
import type { Caller } from "#caller";
import type { Grant, GrantRequest } from "#grant";
import type { Keys } from "#keys";
import type { PlainSide } from "#mirror";
import type { Scope, Verb, Verdict } from "#role";
import type { DeliveryChange, Secret, SecretVersion } from "#secret";
import type { Trail } from "#trail";
import type { Adoption, Convergence, LaunchOptions, Runner, Vm } from "#vm";

/**
 * The only door to what is stored. Every operation takes its caller first and runs in one order: authorise, audit the
 * intent, act, audit the outcome. If the audit cannot be written nothing is done and nothing is disclosed. All throw
 * HatchwayError.
 */
export interface Vault {
  /**
   * Throws unless `caller` may be heard at all, read the daemon's log, or make a VM of that name, for what comes before
   * the operation itself; a refusal is audited.
   */
  allow(caller: Caller, what: "admin.enter" | "daemon.logs" | "vm.create", vm?: string): Promise<void>;
  /** The roles that `caller` has. */
  whoami(caller: Caller): Promise<readonly Scope[]>;
  /** Whether `caller` could do something; asking leaves no line. Throws "invalid" for what is not done to such. */
  can(caller: Caller, verb: Verb, subject: { secret?: string; vm?: string }): Promise<Verdict>;

  /**
   * Stores a value, or changes only metadata where `value` is absent. The vault wipes nothing: `value` is the
   * caller's. `create` throws "exists", `update` throws "not-found", `set` does either.
   */
  putSecret(caller: Caller, name: string, how: "create" | "update" | "set", change: SecretChange): Promise<SecretPut>;
  /** Takes the secret and all its grants away; says which VMs had it. */
  removeSecret(caller: Caller, name: string): Promise<{ vms: string[] }>;
  secret(caller: Caller, name: string): Promise<Secret>;
  /** Sorted by name. */
  secrets(caller: Caller): Promise<Secret[]>;
  /** The versions whose values are kept, newest first. */
  history(caller: Caller, name: string): Promise<SecretVersion[]>;
  /**
   * Makes a new version, with the value that version `to` has; without `to`, that of the one before the current. Throws
   * "not-found" for one that is not kept.
   */
  rollbackSecret(caller: Caller, name: string, to: number | undefined): Promise<Secret>;
  /**
   * Gives it another name, which must be free. Its id, versions and grants stay, and VMs that have it keep its file where
   * it is. Says which VMs have it.
   */
  renameSecret(caller: Caller, from: string, to: string): Promise<{ secret: Secret; vms: string[] }>;
  /** Names of the VMs that it is attached to, sorted. */
  holders(caller: Caller, name: string): Promise<string[]>;

  /** Makes the VM and attaches all of `grants`, or does nothing. */
  createVm(caller: Caller, vm: VmRequest): Promise<Vm>;
  removeVm(caller: Caller, name: string): Promise<void>;
  vm(caller: Caller, name: string): Promise<Vm>;
  /** Sorted by name. */
  vms(caller: Caller): Promise<Vm[]>;

  /** Whether `caller` may start or stop the VM; the answer is audited, and so is that he did. */
  admit(caller: Caller, what: "vm.start" | "vm.stop", name: string): Promise<Vm>;

  /** Attaches each, or changes how it is delivered where it is attached already; all or none. */
  attach(caller: Caller, vm: string, grants: readonly GrantRequest[]): Promise<Grant[]>;
  detach(caller: Caller, vm: string, secret: string): Promise<void>;
  /** Gives the VM the newest version again, from now on. */
  unpin(caller: Caller, vm: string, secret: string): Promise<void>;
  /** Sorted by the secret's name. */
  grants(caller: Caller, vm: string): Promise<Given[]>;

  /** What the VM is to have now. Gives it a new counter where that differs from the last one. */
  resolve(caller: Caller, vmId: string): Promise<Bundle>;
  /** The same, for a person to make an image of: he needs a right to the VM, by name, and to each secret that it has. */
  export(caller: Caller, vm: string): Promise<Bundle>;
  convergence(caller: Caller, vmId: string): Promise<Convergence>;
  /** The host saw the VM boot: its claim and its receipts are void. */
  newGeneration(caller: Caller, vmId: string): Promise<void>;
  /** The first process of a generation claims the API with a key of 32 bytes; another key later is "exists". */
  claim(caller: Caller, key: Buffer): Promise<void>;
  /**
   * From now on the VM enrols (#protocol/enrol): the line for its firmware, with a token for its next boot and `reboots` more,
   * which the caller wipes. Whatever token it had is void.
   */
  mintToken(caller: Caller, vm: string, reboots: number): Promise<Buffer>;
  /** Whether this VM enrols: then neither a first claim nor a device of root's is enough. */
  enrols(caller: Caller): Promise<boolean>;
  /** The generation that a guest enrols in. Throws "not-found" for a VM that does not enrol. */
  enrolling(caller: Caller): Promise<number>;
  /**
   * A claim's key, sealed to the guest that has the token. Throws "unauthenticated" for who has not, "exists" for a token that
   * is spent or another's; both raise an alarm.
   */
  enrol(caller: Caller, request: EnrolRequest): Promise<Buffer>;
  /** Whether `key` holds the claim of this generation; constant time. A wrong one raises an alarm. */
  proves(caller: Caller, key: Buffer): Promise<boolean>;
  /**
   * Somebody brought `revision`, which he had by `export`, into the guest and saw it in force there: kept as if the guest
   * had said so. Throws "invalid" for what is none of this boot, or older than what is there.
   */
  pushed(caller: Caller, vm: string, revision: string, mount: string): Promise<void>;
  /** Keeps what the guest says of `revision`, as far as it can be true. */
  receive(caller: Caller, revision: string, receipt: ReceiptClaim): Promise<void>;

  /** The keys of the store, and the ways to them. */
  readonly keys: Keys;
  /** The audit trail, to be read. */
  readonly trail: Trail;
  /** Backups of secrets and VMs. */
  readonly backups: Backups;
  /** For the keeper of a plain folder of secrets. */
  readonly plain: PlainSide;

  /** Calls `listener` when what a VM is to have may have changed; undefined: any VM. The returned function ends it. */
  watch(listener: (vmId: string | undefined) => void): () => void;

  /** Finishes what is under way and closes store and audit; wipes the keys. */
  close(): Promise<void>;
}

export interface SecretChange {
  value?: Buffer;
  delivery?: DeliveryChange;
  about?: AboutChange;
}

export interface SecretPut {
  secret: Secret;
  created: boolean;
}

/** A grant with its secret as the VM has it: of a pinned one version and size are those of the pinned version. */
export interface Given {
  grant: Grant;
  secret: Secret;
  /** The secret's newest version. */
  newest: number;
}

export interface VmRequest {
  name: string;
  runner: Runner;
  group?: string;
  launch?: LaunchOptions;
  adopted?: Adoption;
  /** Of an adoption by pid: the process that has it now. */
  pid?: number;
  cid?: number;
  grants: readonly GrantRequest[];
  /** Attach every secret that there is, as Slicer does where no list is given. */
  all?: boolean;
  /** Attach those too that are for every new VM. */
  defaults?: boolean;
}

/** What a guest enrols with: 32 bytes each. */
export interface EnrolRequest {
  /** Its public key (X25519). */
  guest: Buffer;
  nonce: Buffer;
  mac: Buffer;
}

/** A receipt as the guest words it, checked for form but not believed. */
export interface ReceiptClaim {
  outcome: "applied" | "failed";
  refused: { name: string; reason: string }[];
  mount: string;
  agent: string;
}
