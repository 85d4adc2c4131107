import type { Bundle } from "#bundle";
import type { Caller } from "#caller";
import type { Grant, GrantRequest } from "#grant";
import type { Scope, Verb, Verdict } from "#role";
import type { DeliveryChange, Secret } from "#secret";
import type { Convergence, LaunchOptions, Runner, Vm } from "#vm";

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
  /** Sorted by the secret's name. */
  grants(caller: Caller, vm: string): Promise<{ grant: Grant; secret: Secret }[]>;

  /** What the VM is to have now. Gives it a new counter where that differs from the last one. */
  resolve(caller: Caller, vmId: string): Promise<Bundle>;
  convergence(caller: Caller, vmId: string): Promise<Convergence>;
  /** The host saw the VM boot: its claim and its receipts are void. */
  newGeneration(caller: Caller, vmId: string): Promise<void>;
  /** The first process of a generation claims the API with a key of 32 bytes; another key later is "exists". */
  claim(caller: Caller, key: Buffer): Promise<void>;
  /** Whether `key` holds the claim of this generation; constant time. A wrong one raises an alarm. */
  proves(caller: Caller, key: Buffer): Promise<boolean>;
  /** Keeps what the guest says of `revision`, as far as it can be true. */
  receive(caller: Caller, revision: string, receipt: ReceiptClaim): Promise<void>;

  /** Calls `listener` when what a VM is to have may have changed; undefined: any VM. The returned function ends it. */
  watch(listener: (vmId: string | undefined) => void): () => void;

  /** Finishes what is under way and closes store and audit; wipes the keys. */
  close(): Promise<void>;
}

export interface SecretChange {
  value?: Buffer;
  delivery?: DeliveryChange;
}

export interface SecretPut {
  secret: Secret;
  created: boolean;
}

export interface VmRequest {
  name: string;
  runner: Runner;
  group?: string;
  launch?: LaunchOptions;
  grants: readonly GrantRequest[];
  /** Attach every secret that there is, as Slicer does where no list is given. */
  all?: boolean;
}

/** A receipt as the guest words it, checked for form but not believed. */
export interface ReceiptClaim {
  outcome: "applied" | "failed";
  refused: { name: string; reason: string }[];
  mount: string;
  agent: string;
}
