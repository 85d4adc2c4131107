// vm create, launch, start, stop, remove.
import { resolve } from "node:path";
import type { EnrolBody, FirmwareBody, LaunchBody, LaunchChannel, ShareBody, VmBody, VmRequestBody } from "#api-vm";
import type { Wait } from "#client/client";
import { HatchwayError } from "#error";
import { vmNameProblem } from "#protocol/names";
import { warnOfAlarms } from "./convergence.ts";
import { readEnrol, type EnrolFlags } from "./enrol-flags.ts";
import { readGrants, type GrantFlags } from "./grant-flags.ts";
import { withProgress } from "./progress.ts";
import { parseCount, parseDuration, parseMemory, plural } from "./quantity.ts";
import type { Session } from "./session.ts";

const SECRETS_DISKS = ["erofs", "squashfs", "iso", "sealed"] as const;

export interface WaitFlags {
  wait?: true;
  timeout?: string;
}

export interface LaunchFlags extends GrantFlags, WaitFlags, EnrolFlags {
  external?: true;
  cid?: string;
  runner?: string;
  kernel?: string;
  initrd?: string;
  disk?: string;
  memory?: string;
  cpus?: string;
  append?: string;
  channel?: string;
  firmware?: string;
  credentials?: true;
  allowReserved?: true;
  secretsDisk?: string;
  share?: string;
  plain?: true;
}

export async function createVm(session: Session, operands: readonly string[], flags: LaunchFlags): Promise<undefined> {
  const vm = await session.client.createVm(await readRequest(session, operands, flags));
  session.report(
    vm,
    () =>
      `created vm "${vm.name}", ${vm.launch === undefined ? "which something else runs" : "not started"}\n${describeSecrets(vm)}`,
  );
}

export async function launchVm(session: Session, operands: readonly string[], flags: LaunchFlags): Promise<undefined> {
  const wait = readWait(flags);
  const request = await readRequest(session, operands, flags);
  const launched = session.client.createVm(request, { launch: true, ...(wait !== undefined && { wait }) });
  const vm = await withProgress(session, () => progressText(request.name, wait), launched);
  session.report(vm, () => `${describeRunning(vm)}\n${describeSecrets(vm)}`);
  warnOfAlarms(session, [vm]);
}

export async function startVm(session: Session, operands: readonly string[], flags: WaitFlags): Promise<undefined> {
  const [name = ""] = operands;
  const wait = readWait(flags);
  const vm = await withProgress(session, () => progressText(name, wait), session.client.startVm(name, wait));
  session.report(vm, () => describeRunning(vm));
  warnOfAlarms(session, [vm]);
}

export async function stopVm(
  session: Session,
  operands: readonly string[],
  flags: { grace?: string },
): Promise<undefined> {
  const [name = ""] = operands;
  const grace = parseDuration("--grace", flags.grace ?? "10s");
  const text = (): string => `waiting for vm "${name}" to power down`;
  const vm = await withProgress(session, text, session.client.stopVm(name, grace));
  session.report(vm, () => `stopped vm "${vm.name}"${vm.reason === undefined ? "" : `: ${vm.reason}`}`);
}

export async function removeVms(session: Session, operands: readonly string[]): Promise<undefined> {
  for (const name of operands) {
    await withProgress(session, () => `removing vm "${name}"`, session.client.removeVm(name));
    if (!session.json) session.print(`removed vm "${name}", its secrets with it`);
  }
  if (session.json) session.printJson({ removed: operands });
}

async function readRequest(
  session: Session,
  [name = ""]: readonly string[],
  flags: LaunchFlags,
): Promise<VmRequestBody> {
  const problem = vmNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
  const launch = readLaunch(flags);
  if (flags.external === true && Object.keys(launch).length > 0) {
    throw new HatchwayError("invalid", "--external and the flags of a machine contradict each other", {
      ...(launch.enrol && { hint: `make its token once it is there: hatchway vm enrol ${name} --out FILE` }),
    });
  }
  if (flags.cid !== undefined && flags.external !== true) {
    throw new HatchwayError("invalid", "--cid is of --external, which is not given");
  }
  const secrets = await readGrants(session.client, flags);
  const request: VmRequestBody = flags.external === true ? { name } : { name, launch };
  if (secrets !== undefined) request.secrets = secrets;
  if (flags.defaultSecrets === false) request.default_secrets = false;
  if (flags.cid !== undefined) request.cid = parseCount("--cid", flags.cid, 3);
  if (flags.runner !== undefined) {
    request.runner = /^[0-9]+$/.test(flags.runner) ? Number(flags.runner) : flags.runner;
  }
  return request;
}

function readLaunch(flags: LaunchFlags): LaunchBody {
  const launch: LaunchBody = {};
  if (flags.kernel !== undefined) launch.kernel = resolve(flags.kernel);
  if (flags.initrd !== undefined) launch.initrd = resolve(flags.initrd);
  if (flags.disk !== undefined) launch.disk = resolve(flags.disk);
  if (flags.memory !== undefined) launch.memory_mib = parseMemory("--memory", flags.memory);
  if (flags.cpus !== undefined) launch.cpus = parseCount("--cpus", flags.cpus, 1);
  if (flags.append !== undefined) launch.append = flags.append;
  if (flags.channel !== undefined) launch.channel = readChannel(flags.channel);
  const firmware = readFirmware(flags);
  if (firmware) launch.firmware = firmware;
  if (flags.secretsDisk !== undefined) launch.secrets_disk = readSecretsDisk(flags);
  const share = readShare(flags);
  if (share) launch.share = share;
  const enrol = readEnrolment(flags);
  if (enrol) launch.enrol = enrol;
  return launch;
}

function readChannel(channel: string): LaunchChannel {
  if (channel === "virtio-serial" || channel === "tcp") return channel;
  throw new HatchwayError("invalid", `--channel "${channel}" is neither virtio-serial nor tcp`);
}

function readFirmware({ firmware, credentials, allowReserved }: LaunchFlags): FirmwareBody | undefined {
  if (firmware === undefined) {
    if (credentials === undefined && allowReserved === undefined) return undefined;
    throw new HatchwayError("invalid", "--credentials and --allow-reserved are of --firmware, which is not given");
  }
  if (allowReserved === true && credentials !== true) {
    throw new HatchwayError("invalid", "--allow-reserved is of --credentials, which is not given");
  }
  if (firmware !== "fw-cfg" && firmware !== "smbios") {
    throw new HatchwayError("invalid", `--firmware "${firmware}" is neither fw-cfg nor smbios`);
  }
  return {
    kind: firmware,
    ...(credentials === true && { reader: "systemd" as const }),
    ...(allowReserved === true && { allow_reserved: true }),
  };
}

function readSecretsDisk({ secretsDisk, firmware }: LaunchFlags): NonNullable<LaunchBody["secrets_disk"]> {
  if (firmware !== undefined) {
    throw new HatchwayError("invalid", "--secrets-disk and --firmware are two ways of which a VM has one");
  }
  const known = SECRETS_DISKS.find((format) => format === secretsDisk);
  if (known) return known;
  throw new HatchwayError("invalid", `--secrets-disk "${secretsDisk}" is none of ${SECRETS_DISKS.join(", ")}`);
}

function readShare({ share, plain, firmware, secretsDisk }: LaunchFlags): ShareBody | undefined {
  if (share === undefined) {
    if (plain === undefined) return undefined;
    throw new HatchwayError("invalid", "--plain is of --share, which is not given");
  }
  const other = firmware === undefined ? secretsDisk && "--secrets-disk" : "--firmware";
  if (other !== undefined)
    throw new HatchwayError("invalid", `--share and ${other} are two ways of which a VM has one`);
  if (share === "smb") {
    throw new HatchwayError(
      "invalid",
      "vm launch keeps QEMU from starting programs, and for --share smb it would start smbd",
      {
        hint: "use 9p or virtiofs, or a QEMU of your own: hatchway vm args NAME --channel smb",
      },
    );
  }
  if (share !== "9p" && share !== "virtiofs") {
    throw new HatchwayError("invalid", `--share "${share}" is neither 9p nor virtiofs`);
  }
  return { by: share, ...(plain === true && { form: "plain" as const }) };
}

/** A guest that enrols gets its secrets live. */
function readEnrolment(flags: LaunchFlags): EnrolBody | undefined {
  const { firmware, secretsDisk, share } = flags;
  const enrol = readEnrol(flags);
  if (!enrol || (firmware === undefined && secretsDisk === undefined && share === undefined)) return enrol;
  throw new HatchwayError(
    "invalid",
    "--enrol is for secrets that come live, not with --firmware, --secrets-disk or --share",
  );
}

function readWait(flags: WaitFlags): Wait | undefined {
  if (flags.timeout !== undefined && flags.wait !== true) {
    throw new HatchwayError("invalid", "--timeout is of --wait, which is not given");
  }
  if (flags.wait !== true) return undefined;
  return { until: "agent", timeout: parseDuration("--timeout", flags.timeout ?? "30s") };
}

function progressText(name: string, wait: Wait | undefined): string {
  return wait === undefined ? `starting vm "${name}"` : `waiting for the agent in vm "${name}"`;
}

/** `vm "web-1" runs (pid 4711) under KVM`, or why not under KVM. */
export function describeRunning(vm: VmBody): string {
  const pid = vm.pid === undefined ? "" : ` (pid ${vm.pid})`;
  return `vm "${vm.name}" is ${vm.state}${pid}${describeAccelerator(vm)}`;
}

export function describeAccelerator(vm: VmBody): string {
  if (vm.accelerator === undefined) return "";
  if (vm.accelerator === "kvm") return " under KVM";
  const why = vm.accelerator_reason === undefined ? "" : `, not KVM: ${vm.accelerator_reason}`;
  return ` under emulation${why}`;
}

export function describeSecrets({ secrets, convergence }: VmBody): string {
  if (secrets.length === 0) return "it has no secrets";
  const there = convergence.in_sync ? ", all in place" : "";
  return `it has ${plural(secrets.length, "secret")}${there}: ${secrets.join(", ")}`;
}
