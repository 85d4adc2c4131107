// The TypeScript client of the admin API: one method a route, as src/api.ts words it. Names are checked against the
// grammar before anything is sent; values are Buffers, in and nowhere out. All methods throw HatchwayError.
import type {
  AboutBody,
  CanBody,
  DeliveryBody,
  KeysBody,
  RestoredBody,
  RewrapBody,
  SecretBody,
  SecretRemoved,
  SecretRenamed,
  StatusBody,
  TrailBody,
  TrailQuery,
  UnsealQuery,
  UnsealedBody,
  VersionBody,
  WayBody,
  WayQuery,
  WhoamiBody,
} from "#api";
import type { PushRequest } from "#api-vm";
import type {
  ArgumentsBody,
  AttachRequest,
  ChannelsBody,
  GrantBody,
  ImageRequest,
  TokenRequest,
  VmBody,
  VmRequestBody,
  WiringQuery,
} from "#api-vm";
import type { BackupContents, BackupReaders } from "#backup";
import type { Verb } from "#role";

/** How long the daemon shall wait before it answers, and for what. */
export interface Wait {
  /** The VM's first receipt of this boot, or that it has all that it is to have. */
  until: "agent" | "synced";
  /** Milliseconds; "timeout" is thrown after them. */
  timeout: number;
}

export interface LogRequest {
  /** How many of the last lines. */
  lines: number;
  /** Go on as lines come, until the connection ends. */
  follow: boolean;
}

/** How a secret is delivered, and what is said of it. */
export type MetadataBody = DeliveryBody & AboutBody;

export interface Client {
  /** Whether the daemon is reached by its socket, so that it is a process of this machine. */
  readonly isLocal: boolean;
  secrets(): Promise<SecretBody[]>;
  secret(name: string): Promise<SecretBody>;
  /**
   * Stores a value verbatim, with what `metadata` says of it. `create` throws "exists", `update`
   * "not-found". `value` stays the caller's to wipe.
   */
  putSecret(
    name: string,
    how: "create" | "update" | "set",
    value: Buffer,
    metadata?: MetadataBody,
  ): Promise<{ secret: SecretBody; created: boolean }>;
  /** Changes how a secret is delivered or what is said of it, and not its value. */
  patchSecret(name: string, metadata: MetadataBody): Promise<SecretBody>;
  removeSecret(name: string): Promise<SecretRemoved>;
  /** The versions that are kept, newest first. */
  history(name: string): Promise<VersionBody[]>;
  /** A new version, with the value of version `to`, or of the one before the current. */
  rollbackSecret(name: string, to?: number): Promise<SecretBody>;
  renameSecret(name: string, to: string): Promise<SecretRenamed>;
  /** Names of the VMs that it is attached to. */
  holders(name: string): Promise<string[]>;

  vms(): Promise<VmBody[]>;
  vm(name: string, wait?: Wait): Promise<VmBody>;
  createVm(request: VmRequestBody, options?: { launch?: boolean; wait?: Wait }): Promise<VmBody>;
  removeVm(name: string): Promise<void>;
  startVm(name: string, wait?: Wait): Promise<VmBody>;
  /** Ends the process after `grace` milliseconds if the guest has not powered down. */
  stopVm(name: string, grace: number): Promise<VmBody>;
  /** Says that process `pid` runs a VM that something else starts, and that its guest boots now. */
  observeVm(name: string, pid: number): Promise<VmBody>;
  grants(vm: string): Promise<GrantBody[]>;
  attach(vm: string, secret: string, request: AttachRequest): Promise<GrantBody>;
  unpin(vm: string, secret: string): Promise<GrantBody>;
  detach(vm: string, secret: string): Promise<void>;
  /** The VM's console, without control characters. */
  vmLogs(name: string, request: LogRequest): AsyncIterable<Buffer>;

  keys(): Promise<KeysBody>;
  /** `secret`: the passphrase, or the credential's key; stays the caller's to wipe. */
  addWay(name: string, way: WayQuery, secret: Buffer): Promise<WayBody>;
  removeWay(name: string): Promise<void>;
  /** Answers the new term. */
  rotateKeys(): Promise<{ term: number }>;
  /** Begins, unless it is under way. */
  startRewrap(): Promise<RewrapBody>;
  rewrap(): Promise<RewrapBody>;
  retireTerm(term: number): Promise<void>;
  /** Wipes every key of the running daemon; VMs go on with what they have. */
  sealKeys(): Promise<void>;
  /** Opens them again, by what is brought or by what asks nobody; `secret` stays the caller's to wipe. */
  unsealKeys(by?: UnsealQuery["by"], secret?: Buffer): Promise<UnsealedBody>;
  /** An age file with all that opens the store. */
  backupKeys(recipient: string): Promise<Buffer>;

  /** What a backup would have. */
  backupContents(only?: readonly string[]): Promise<BackupContents>;
  /** A backup, an age file in pieces; `size` is told before the first. A passphrase stays the caller's to wipe. */
  backup(readers: BackupReaders, only?: readonly string[], size?: (size: number) => void): AsyncIterable<Buffer>;
  /** Takes in the secrets of an unsealed backup, all or none; answers their names. */
  restore(backup: AsyncIterable<Buffer>): Promise<RestoredBody>;

  /** What a VMM of one's own is told of one way into the VM. */
  vmArguments(name: string, wanted: WiringQuery): Promise<ArgumentsBody>;
  /** Every way into the VM, with what speaks against it. */
  vmChannels(name: string, wanted: WiringQuery): Promise<ChannelsBody>;

  /** A token for the firmware of a VM that something else starts, in pieces that are wiped after each call of `take`. */
  mintToken(vm: string, request: TokenRequest, take: (piece: Buffer) => void): Promise<void>;
  /** Records that `revision`, which `buildImage` gave, is in force in the guest. */
  recordPush(vm: string, request: PushRequest): Promise<VmBody>;
  /**
   * What a VM has, as an image, in pieces that are wiped after each call of `take`; its revision, undefined where that is
   * what `request` has and `take` was not called.
   */
  buildImage(
    vm: string,
    request: ImageRequest,
    take: (piece: Buffer) => void,
  ): Promise<{ revision: string } | undefined>;

  /** The audit trail: its last lines, each of JSON. */
  auditTail(request: LogRequest): AsyncIterable<Buffer>;
  /** Those of its lines that fit, oldest first. */
  auditExport(query: TrailQuery): AsyncIterable<Buffer>;
  /** Checks all of it; throws "corrupt" with the first bad line. */
  auditVerify(): Promise<TrailBody>;

  /** Who the daemon takes this client for, and what he may do. */
  whoami(): Promise<WhoamiBody>;
  /** Whether he could do something to a secret, a VM, or to both: attach and detach. */
  can(verb: Verb, subject: { secret?: string; vm?: string }): Promise<CanBody>;
  status(): Promise<StatusBody>;
  /** The daemon's log. */
  logs(request: LogRequest): AsyncIterable<Buffer>;

  /** Lets go of an embedded store, so that this process can end and another can open it; of a daemon there is nothing. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
