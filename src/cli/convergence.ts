// How a VM's convergence is worded.
import type { VmBody } from "#api-vm";
import { stripControl } from "#printable";
import type { Session } from "./session.ts";
import { formatAge, plural } from "./quantity.ts";

export type Sync = "in sync" | "behind" | "unknown";

/** "unknown" until the guest has been heard of. */
export function syncOf(vm: VmBody): Sync {
  const { in_sync: inSync, applied, last_contact: lastContact } = vm.convergence;
  if (inSync) return "in sync";
  return applied === undefined && lastContact === undefined ? "unknown" : "behind";
}

/** `2/3`: the applied revision and the wanted one. */
export function revisionOf(vm: VmBody): string {
  return `${vm.convergence.applied ?? "-"}/${vm.convergence.wanted}`;
}

/** `web-1 (revision 1 of 2, last contact 5s ago)`; a guest that refused secrets is behind at the newest revision too. */
export function describeBehind(vm: VmBody): string {
  const { applied, wanted, refused, last_contact: lastContact } = vm.convergence;
  const contact = lastContact === undefined ? "never heard of" : `last contact ${formatAge(lastContact)}`;
  const names = refused.map(({ name }) => stripControl(name)).join(", ");
  const refusal = names === "" ? "" : `refused ${names}, `;
  return `${vm.name} (revision ${applied ?? "none"} of ${wanted}, ${refusal}${contact})`;
}

/** What a person has to see even if he asked for something else: one line an alarm, on stderr. */
export function warnOfAlarms(session: Session, vms: readonly VmBody[]): void {
  const style = session.style.err;
  for (const vm of vms) {
    for (const { what, count, at } of vm.convergence.alarms) {
      const line = `vm "${vm.name}": ${what}, ${plural(count, "time")}, last ${formatAge(at)}`;
      session.terminal.stderr.write(`${style.bold(style.red("ALARM:"))} ${line}\n`);
    }
  }
}
