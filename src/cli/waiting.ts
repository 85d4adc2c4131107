// Waiting until VMs have what they are to have.
import type { VmBody } from "#api-vm";
import type { Client } from "#client/client";
import { HatchwayError } from "#error";
import { describeBehind } from "./convergence.ts";
import { formatSpan, plural } from "./quantity.ts";
import { withProgress } from "./progress.ts";
import type { Session } from "./session.ts";

export interface Arrival {
  /** Names of the VMs that are in sync. */
  inSync: string[];
  /** Those that were not when the time was over, as they were then. */
  behind: VmBody[];
  /** Names of those that do not run and so hold nothing: they get it when they start. */
  idle: string[];
}

/**
 * Waits for all of `names` at once, `timeout` milliseconds at most. `meant`: the user named them, so that one which
 * something else runs is waited for though nothing was heard of it yet.
 */
export async function waitForSync(
  session: Session,
  names: readonly string[],
  timeout: number,
  meant = false,
): Promise<Arrival> {
  const { client } = session;
  const arrival: Arrival = { inSync: [], behind: [], idle: [] };
  const pending = new Set(names);
  const awaitOne = async (name: string): Promise<void> => {
    const vm = await syncedOrNot(client, name, timeout, meant);
    pending.delete(name);
    if (vm === "idle") arrival.idle.push(name);
    else if (vm.convergence.in_sync) arrival.inSync.push(name);
    else arrival.behind.push(vm);
  };
  const text = (): string => `waiting for ${plural(pending.size, "VM")}: ${[...pending].join(", ")}`;
  await withProgress(session, text, Promise.all(names.map(awaitOne)));
  return arrival;
}

async function syncedOrNot(client: Client, name: string, timeout: number, meant: boolean): Promise<VmBody | "idle"> {
  const before = await client.vm(name);
  if (isIdle(before) && !(meant && before.launch === undefined)) return "idle";
  try {
    return await client.vm(name, { until: "synced", timeout });
  } catch (error) {
    if (error instanceof HatchwayError && error.code === "timeout") return client.vm(name);
    throw error;
  }
}

function isIdle(vm: VmBody): boolean {
  const heardOf = vm.convergence.last_contact !== undefined;
  return vm.state === "stopped" || vm.state === "failed" || (vm.state === "defined" && !heardOf);
}

/** Throws "timeout" that names who is behind. */
export function refuseBehind(behind: readonly VmBody[], timeout: number): void {
  if (behind.length === 0) return;
  const list = behind.map(describeBehind).join(", ");
  throw new HatchwayError("timeout", `not in sync within ${formatSpan(timeout)}: ${list}`, {
    hint: "they go on trying; see: hatchway vm status --wait",
  });
}
