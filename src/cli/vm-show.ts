// vm list, show, status: what the host knows of VMs.
import type { GrantBody, VmBody } from "#api-vm";
import { DEFAULT_MOUNT_ROOT } from "#protocol/names";
import { stripControl } from "#printable";
import { revisionOf, syncOf, warnOfAlarms } from "./convergence.ts";
import { formatAge, parseDuration, plural } from "./quantity.ts";
import type { Session } from "./session.ts";
import { formatFields, formatTable, type Column } from "./table.ts";
import { describeAccelerator } from "./vm-launch.ts";
import { refuseBehind, waitForSync } from "./waiting.ts";
import { HatchwayError } from "#error";

const LIST_COLUMNS: readonly Column[] = "NAME,STATE,SECRETS,REVISION,SYNC,LAST CONTACT"
  .split(",")
  .map((title) => ({ title }));

export async function listVms(session: Session): Promise<undefined> {
  const vms = await session.client.vms();
  session.report(vms, () => formatTable(LIST_COLUMNS, vms.map(listRow)));
  warnOfAlarms(session, vms);
}

function listRow(vm: VmBody): string[] {
  const contact = formatAge(vm.convergence.last_contact);
  return [vm.name, vm.state, String(vm.secrets.length), revisionOf(vm), syncOf(vm), contact];
}

export async function showVm(session: Session, operands: readonly string[]): Promise<undefined> {
  const [name = ""] = operands;
  const [vm, grants] = await Promise.all([session.client.vm(name), session.client.grants(name)]);
  session.report({ ...vm, grants }, () => {
    const fields = formatFields([
      ["name", vm.name],
      ["id", vm.id],
      ...stateFields(vm),
      ["runner", `${vm.runner.name ?? "uid"} ${vm.runner.uid}:${vm.runner.gid}`],
      ["created", `${vm.created_at} (${formatAge(vm.created_at)})`],
      ["machine", describeMachine(vm)],
      ["adopted by", describeAdoption(vm)],
      ["cid", vm.cid?.toString()],
      ["generation", String(vm.convergence.generation)],
      ...vm.channels.map(({ kind, path }): [string, string] => [kind, path]),
      ["control socket", vm.control_socket],
      ["shell socket", vm.shell_socket],
      ...convergenceFields(vm),
    ]);
    return `${fields}\n\n${grantTable(grants)}`;
  });
  warnOfAlarms(session, [vm]);
  warnOfProblems(session, [vm]);
}

export interface StatusFlags {
  wait?: true;
  timeout?: string;
}

export async function vmStatus(session: Session, operands: readonly string[], flags: StatusFlags): Promise<undefined> {
  if (flags.timeout !== undefined && flags.wait !== true) {
    throw new HatchwayError("invalid", "--timeout is of --wait, which is not given");
  }
  const [name] = operands;
  const timeout = parseDuration("--timeout", flags.timeout ?? "10s");
  const names = name === undefined ? (await session.client.vms()).map((vm) => vm.name) : [name];
  const behind = flags.wait === true ? (await waitForSync(session, names, timeout, name !== undefined)).behind : [];
  if (name === undefined) {
    const vms = await session.client.vms();
    session.report(vms, () => formatTable(STATUS_COLUMNS, vms.map(statusRow)));
    warnOfAlarms(session, vms);
    warnOfProblems(session, vms);
  } else {
    const vm = await session.client.vm(name);
    session.report(vm, () => formatFields([["name", vm.name], ...stateFields(vm), ...convergenceFields(vm)]));
    warnOfAlarms(session, [vm]);
    warnOfProblems(session, [vm]);
  }
  refuseBehind(behind, timeout);
}

const STATUS_COLUMNS: readonly Column[] = "NAME,STATE,WANTED,APPLIED,SYNC,APPLIED AT,LAST CONTACT,REFUSED"
  .split(",")
  .map((title) => ({ title }));

function statusRow(vm: VmBody): string[] {
  const { wanted, applied, applied_at: appliedAt, last_contact: lastContact, refused } = vm.convergence;
  return [
    vm.name,
    vm.state,
    String(wanted),
    applied === undefined ? "-" : String(applied),
    syncOf(vm),
    formatAge(appliedAt),
    formatAge(lastContact),
    String(refused.length),
  ];
}

type Fields = [name: string, value: string | undefined][];

function stateFields(vm: VmBody): Fields {
  const pid = vm.pid === undefined ? "" : ` (pid ${vm.pid})`;
  const reason = vm.reason === undefined ? "" : `: ${vm.reason}`;
  return [["state", stripControl(`${vm.state}${pid}${describeAccelerator(vm)}${reason}`)]];
}

/** What the guest said is shown as said, without what a terminal would obey. */
function convergenceFields(vm: VmBody): Fields {
  const said = vm.convergence;
  const age = said.applied === undefined ? "" : `, ${formatAge(said.applied_at)}${failed(said.outcome)}`;
  return [
    ["wanted", `revision ${said.wanted}`],
    ["applied", said.applied === undefined ? "nothing yet" : `revision ${said.applied}${age}`],
    ["sync", syncOf(vm)],
    ["last contact", formatAge(said.last_contact)],
    ["enrolment", describeEnrolment(vm)],
    ["mount", said.mount === undefined ? undefined : stripControl(said.mount)],
    ["agent", said.agent === undefined ? undefined : stripControl(said.agent)],
    ["refused", said.refused.length === 0 ? undefined : stripControl(describeRefused(said.refused))],
  ];
}

function failed(outcome: "applied" | "failed" | undefined): string {
  return outcome === "failed" ? ", FAILED" : "";
}

function describeRefused(refused: readonly { name: string; reason: string }[]): string {
  return refused.map(({ name, reason }) => `${name}: ${reason}`).join("\n");
}

/** `its vsock "/srv/fc-7/v.sock"`: where the host looks for the process. */
export function describeAdoption({ adopted }: VmBody): string | undefined {
  if (adopted === undefined) return undefined;
  if ("uds" in adopted) return `its vsock "${adopted.uds}"`;
  if ("qmp" in adopted) return `its monitor "${adopted.qmp}"`;
  return "libvirt" in adopted ? `libvirt's domain "${adopted.libvirt}"` : "its pid";
}

/** What of an adopted VM is not as it should be, on stderr. */
export function warnOfProblems(session: Session, vms: readonly VmBody[]): void {
  for (const { name, problem } of vms) {
    if (!problem) continue;
    session.warn(stripControl(`vm "${name}": ${problem.message}`));
    if (problem.hint !== undefined) session.hint(stripControl(problem.hint.replaceAll("NAME", name)));
  }
}

function describeMachine({ launch }: VmBody): string | undefined {
  if (launch === undefined) return undefined;
  const parts = [
    launch.memory_mib === undefined ? undefined : `${launch.memory_mib} MiB`,
    launch.cpus === undefined ? undefined : plural(launch.cpus, "CPU"),
    launch.kernel === undefined ? "minimal guest" : `kernel ${launch.kernel}`,
    launch.initrd === undefined ? undefined : `initrd ${launch.initrd}`,
    launch.disk === undefined ? undefined : `disk ${launch.disk}`,
    launch.append === undefined ? undefined : `append "${launch.append}"`,
    launch.channel === "tcp" ? "secrets by TLS over QEMU's user network" : undefined,
    launch.secrets_disk && `secrets on a disk, ${launch.secrets_disk}`,
    launch.share && `secrets in a ${launch.share.form ?? "sealed"} share by ${launch.share.by}`,
    launch.enrol && `enrols by ${launch.enrol.by}`,
    launch.firmware && `secrets in ${launch.firmware.kind}, for ${launch.firmware.reader ?? "agent"}`,
  ];
  return parts.filter((part) => part !== undefined).join(", ");
}

/** `enrolled, 1 reboot left` */
function describeEnrolment({ convergence: { enrolment } }: VmBody): string | undefined {
  if (!enrolment) return undefined;
  const states = {
    waiting: "waiting for its guest",
    enrolled: "enrolled",
    spent: "spent: the token was for fewer boots than there were",
  };
  return `${states[enrolment.state]}, ${plural(enrolment.reboots, "reboot")} left`;
}

const GRANT_COLUMNS: readonly Column[] = "SECRET,VERSION,SIZE,MODE,OWNER,DELIVERED AS"
  .split(",")
  .map((title) => ({ title }));

/** Also what attaching answers. */
export function grantTable(grants: readonly GrantBody[]): string {
  return formatTable(GRANT_COLUMNS, grants.map(grantRow));
}

/** `3`; of a pinned one `1 (pinned, newest 3)`. */
function describeVersion({ version, pinned, newest = version }: GrantBody): string {
  if (pinned !== true) return String(version);
  return newest === version ? `${version} (pinned)` : `${version} (pinned, newest ${newest})`;
}

function grantRow(grant: GrantBody): string[] {
  const isFile = grant.delivery !== "env";
  const targets = [
    isFile ? `${DEFAULT_MOUNT_ROOT}/${grant.path ?? grant.name}` : undefined,
    grant.link,
    grant.env === undefined ? undefined : `$${grant.env}`,
  ].filter((target) => target !== undefined);
  const owner = `${grant.owner ?? grant.uid}:${grant.group ?? grant.gid}`;
  const size = String(grant.size);
  return [
    grant.name,
    describeVersion(grant),
    size,
    isFile ? grant.permissions : "-",
    isFile ? owner : "-",
    targets.join(" "),
  ];
}
