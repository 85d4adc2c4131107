import type { Caller } from "#caller";
import type { Wait, VmView } from "#machines";
import type { VmRequest } from "#vault";
import type { LaunchOptions } from "#vm";

/** VMs that are launched alike and named by number, as Slicer has them: `NAME-1`, `NAME-2`. */
export interface HostGroup {
  name: string;
  /** `disk`: its path; its format is looked at when a VM is launched. */
  launch: Omit<LaunchOptions, "disk"> & { disk?: string };
  /** Host users, by name or uid, of whom each runs one VM at a time. Empty: the daemon's own, in a session. */
  runners: readonly (string | number)[];
}

/** What one VM of a group is to have; the rest is the group's. */
export type NodeRequest = Pick<VmRequest, "grants" | "all"> & { memoryMiB?: number; cpus?: number };

export interface HostGroups {
  /** In the order of their names. */
  readonly groups: readonly HostGroup[];
  /** Throws "not-found". */
  group(name: string): HostGroup;
  /** Launches the next VM of a group; a wait that ends in "timeout" leaves nothing of it. */
  create(caller: Caller, group: string, request: NodeRequest, wait?: Wait): Promise<VmView>;
}
