import type { Caller } from "#caller";
import type { ChannelKind } from "#channel";
import type { VmRequest } from "#vault";
import type { Convergence, Vm } from "#vm";

export type MachineState =
  | { state: "defined" }
  | {
      state: "running";
      pid: number;
      /** Of one that Hatchway started. */
      accelerator?: "kvm" | "tcg";
      acceleratorReason?: string;
      shellSocket?: string;
    }
  | { state: "stopped" | "failed"; reason: string };

/** A VM with all that the host knows of it. */
export interface VmView {
  vm: Vm;
  machine: MachineState;
  /** Names, sorted. */
  secrets: string[];
  convergence: Convergence;
  /** What its live channels listen on. */
  channels: { kind: ChannelKind; path: string }[];
  controlSocket: string;
  /** What of a VM could not be done, and what to do about it. */
  problem?: { message: string; hint?: string };
}

/** How long to wait, and for what: its first receipt of this boot, or that it has all that it is to have. */
export interface Wait {
  until: "agent" | "synced";
  /** Milliseconds. */
  timeout: number;
  /** Ends the waiting, when nobody is there any more who waits. */
  signal?: AbortSignal;
}

/**
 * The VMs as things that run: their folders and sockets, and the processes of those that Hatchway starts. Names are
 * checked and rights are asked of the vault. All throw HatchwayError.
 */
export interface Machines {
  /** Whether guests are served that come over a network. */
  readonly servesNetwork: boolean;
  /**
   * Registers the VM, binds its sockets and, if `start`, starts it. If anything fails, or the wait ends in "timeout",
   * nothing of it is left; the error's hint then has the last lines of its console.
   */
  create(caller: Caller, request: VmRequest, start: boolean, wait?: Wait): Promise<VmView>;
  /** Ends its process, if ours, and forgets it with its grants. */
  remove(caller: Caller, name: string): Promise<void>;
  start(caller: Caller, name: string, wait?: Wait): Promise<VmView>;
  /** Asks the guest to power down and ends the process after `grace` milliseconds. */
  stop(caller: Caller, name: string, grace: number): Promise<VmView>;
  /**
   * Takes it that process `pid` runs a VM that Hatchway does not start itself: its guest boots now. Throws "forbidden" for
   * a process that is not the VM's runner's, "conflict" while another has it.
   */
  observe(caller: Caller, name: string, pid: number): Promise<VmView>;
  view(caller: Caller, name: string, wait?: Wait): Promise<VmView>;
  /** Sorted by name. */
  views(caller: Caller): Promise<VmView[]>;
  /** The last lines of the console, without control characters. */
  console(caller: Caller, name: string, lines: number): Promise<string>;
  /** The same, and then what comes, until `signal` is aborted. */
  followConsole(caller: Caller, name: string, lines: number, signal: AbortSignal): Promise<AsyncIterable<string>>;
}
