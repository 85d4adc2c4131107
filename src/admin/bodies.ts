// Between the JSON bodies of the admin API and the nouns of the domain.
import type { LaunchSaid, Said, VmSaid } from "#admin/schemas";
import type { AboutChange } from "#about";
import type { AboutBody, DeliveryBody, SecretBody, VersionBody } from "#api";
import type { AdoptBody, AttachRequest, ConvergenceBody, GrantBody, LaunchBody, VmBody } from "#api-vm";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { mergeDelivery, type GrantRequest } from "#grant";
import { hostUser } from "#host/users";
import type { VmView } from "#machines";
import type { Delivery, DeliveryChange, Secret, SecretVersion } from "#secret";
import type { Given, VmRequest } from "#vault";
import { DEFAULT_MACHINE, isSynced, type Adoption, type Convergence, type LaunchOptions, type Runner } from "#vm";
import { diskFormat } from "#vmm/disk";
import { ownerNow } from "#vmm/sighting";

/** RFC 3339, UTC. */
function time(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** `object` without the keys that are undefined: JSON has none, and neither have our types. */
function defined<T extends object>(object: { [Key in keyof T]: T[Key] | undefined }): T {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as T;
}

type DeliveryWords = Pick<
  SecretBody,
  "delivery" | "permissions" | "uid" | "gid" | "owner" | "group" | "path" | "env" | "link"
>;

function deliveryWords({ file, env, mode, user, group, path, link }: Delivery): DeliveryWords {
  const words: DeliveryWords = {
    delivery: !file ? "env" : env === undefined ? "file" : "file+env",
    permissions: mode,
    uid: typeof user === "number" ? user : 0,
    gid: typeof group === "number" ? group : 0,
  };
  if (typeof user === "string") words.owner = user;
  if (typeof group === "string") words.group = group;
  if (path !== undefined) words.path = path;
  if (env !== undefined) words.env = env;
  if (link !== undefined) words.link = link;
  return words;
}

/** A list has thousands of them, so it makes no object and no time that it can do without. */
export function secretBody(secret: Secret): SecretBody {
  const { name, size, version, delivery, createdAt, modifiedAt, description, labels } = secret;
  const modified = time(modifiedAt);
  const body: SecretBody = {
    name,
    size,
    ...deliveryWords(delivery),
    mod_time: modified,
    modified_at: modified,
    created_at: createdAt === modifiedAt ? modified : time(createdAt),
    version,
  };
  if (delivery.onChange) body.on_change = delivery.onChange;
  if (description !== undefined) body.description = description;
  if (labels) body.labels = labels;
  if (secret.default) body.default = true;
  return body;
}

export function versionBody({ version, size, at, current, pinnedBy }: SecretVersion): VersionBody {
  return { version, size, at: time(at), current, pinned_by: pinnedBy };
}

export function grantBody({ grant, secret, newest }: Given): GrantBody {
  const { name, version, size } = secret;
  const pinned = grant.pin === undefined ? {} : { pinned: true as const, newest };
  const delivery = deliveryWords(mergeDelivery(secret.delivery, grant.change));
  return { name, version, ...pinned, size, ...delivery, attached_at: time(grant.attachedAt) };
}

function convergenceBody(convergence: Convergence): ConvergenceBody {
  const { generation, wanted, applied, lastContact, enrolment, alarms } = convergence;
  return defined<ConvergenceBody>({
    generation,
    wanted,
    applied: applied?.counter,
    in_sync: isSynced(convergence),
    applied_at: applied && time(applied.at),
    outcome: applied?.outcome,
    refused: applied?.refused ?? [],
    mount: applied?.mount,
    agent: applied?.agent,
    last_contact: lastContact === undefined ? undefined : time(lastContact),
    enrolment,
    alarms: alarms.map(({ at, what, count }) => ({ at: time(at), what, count })),
  });
}

export async function vmBody(view: VmView): Promise<VmBody> {
  const { vm, machine, secrets, convergence, channels, controlSocket, problem } = view;
  const running = machine.state === "running" ? machine : undefined;
  const user = await hostUser(vm.runner.uid);
  return defined<VmBody>({
    name: vm.name,
    id: vm.id,
    state: machine.state,
    reason: "reason" in machine ? machine.reason : undefined,
    runner: { ...vm.runner, ...(user && { name: user.name }) },
    group: vm.group,
    created_at: time(vm.createdAt),
    secrets,
    pid: running?.pid,
    accelerator: running?.accelerator,
    accelerator_reason: running?.acceleratorReason,
    launch: vm.launch && launchBody(vm.launch),
    adopted: vm.adopted && adoptedBody(vm.adopted),
    cid: vm.cid,
    problem,
    channels,
    control_socket: controlSocket,
    shell_socket: running?.shellSocket,
    convergence: convergenceBody(convergence),
  });
}

function adoptedBody(adopted: Adoption): VmBody["adopted"] {
  switch (adopted.by) {
    case "uds":
      return { uds: adopted.path };
    case "qmp":
      return { qmp: adopted.path };
    case "libvirt":
      return { libvirt: adopted.domain };
    case "pid":
      return { pid: null };
  }
}

function launchBody({ memoryMiB, disk, firmware, secretsDisk, enrol, ...rest }: LaunchOptions): LaunchBody {
  const { kind, reader, allowReserved } = firmware ?? {};
  return {
    ...rest,
    ...(disk && { disk: disk.path }),
    ...(kind && {
      firmware: { kind, ...(reader && { reader }), ...(allowReserved === true && { allow_reserved: true }) },
    }),
    ...(secretsDisk && { secrets_disk: secretsDisk }),
    ...(enrol && { enrol }),
    memory_mib: memoryMiB,
  };
}

/** The change that a request asks for, word by word: what it leaves out stays as it is. */
export function deliveryChange(said: Said<DeliveryBody>): DeliveryChange {
  return defined<DeliveryChange>({
    file: said.file,
    env: said.env,
    path: said.path,
    mode: said.permissions?.padStart(4, "0"),
    user: said.owner ?? said.uid,
    group: said.group ?? said.gid,
    link: said.link,
    onChange: said.on_change,
  });
}

export function aboutChange(said: Said<AboutBody>): AboutChange {
  return defined<AboutChange>({ description: said.description, labels: said.labels, default: said.default });
}

/**
 * The change of a request that says how a secret is delivered as a whole (creating or setting one, attaching one):
 * `env` without `file` and `path` means only a variable. What only a file has is refused then.
 */
export function wholeDelivery(said: Said<DeliveryBody>): DeliveryChange {
  const onlyEnv = typeof said.env === "string" && said.file === undefined && typeof said.path !== "string";
  if (!onlyEnv) return deliveryChange(said);
  for (const key of ["permissions", "uid", "gid", "owner", "group", "link"] as const) {
    if (said[key] === undefined || said[key] === null) continue;
    throw new HatchwayError("invalid", `${key} is of a file, and env alone makes none`, {
      hint: "say that it is a file as well, or give its path",
    });
  }
  return { ...deliveryChange(said), file: false };
}

/** What `POST /vms` asks for. `start`: it is to be launched, if only with defaults. */
export async function vmRequest(
  said: VmSaid,
  caller: Caller,
  options: { start: boolean; attachDefault: "defaults" | "all" },
): Promise<VmRequest> {
  const launch = said.launch ?? (options.start ? {} : undefined);
  if (launch && said.adopt) {
    throw new HatchwayError("invalid", "a vm that runs already is adopted, or one is launched, not both");
  }
  const cid = said.cid ?? said.adopt?.cid;
  if (launch && cid !== undefined) {
    throw new HatchwayError(
      "invalid",
      "vm launch gives its guests no vsock of the kernel's, so that a cid means nothing",
    );
  }
  const adopted = said.adopt && adoption(said.adopt);
  return {
    name: said.name,
    runner: adopted ? await adoptedRunner(said, adopted) : await runnerOf(said.runner, caller),
    ...(launch && { launch: await launchOptions(launch) }),
    ...(adopted && { adopted }),
    ...(said.adopt?.pid !== undefined && { pid: said.adopt.pid }),
    ...(cid !== undefined && { cid }),
    grants: (said.secrets ?? []).map((secret) =>
      typeof secret === "string" ? { secret, change: {} } : grantRequest(secret.name, secret),
    ),
    ...(said.default_secrets !== false && automatic(said, options.attachDefault)),
  };
}

function adoption({ uds, qmp, libvirt, pid, cid }: Said<AdoptBody>): Adoption {
  const ways: Adoption[] = [
    ...(uds === undefined ? [] : [{ by: "uds" as const, path: uds }]),
    ...(qmp === undefined ? [] : [{ by: "qmp" as const, path: qmp }]),
    ...(libvirt === undefined ? [] : [{ by: "libvirt" as const, domain: libvirt }]),
    ...(pid === undefined ? [] : [{ by: "pid" as const }]),
  ];
  const [way, another] = ways;
  if (way && !another) return way;
  if (another) throw new HatchwayError("invalid", "of uds, qmp, libvirt and pid one tells the vm's process, not two");
  const why = cid === undefined ? "" : ": a cid counts only while the process is seen that has it";
  throw new HatchwayError("invalid", `adopt needs one of uds, qmp, libvirt and pid, to see the vm's process by${why}`);
}

/** Whose the process is; who is named must be that one. */
async function adoptedRunner(said: VmSaid, adopted: Adoption): Promise<Runner> {
  const seen = await ownerNow(adopted, said.adopt?.pid);
  if (said.runner === undefined) return seen;
  const named = await hostUser(said.runner);
  if (named?.uid === seen.uid) return seen;
  throw new HatchwayError("invalid", `the vm's process is of uid ${seen.uid}, not of the runner "${said.runner}"`);
}

async function launchOptions(said: LaunchSaid): Promise<LaunchOptions> {
  const { memory_mib, cpus, disk, channel, firmware, secrets_disk, share, enrol, ...rest } = said;
  const ways = [firmware, secrets_disk, share].filter((way) => way !== undefined);
  if (enrol && ways.length > 0) {
    throw new HatchwayError("invalid", "a guest that enrols gets its secrets live, in no other way");
  }
  if (ways.length > 1 || (ways.length > 0 && channel === "tcp")) {
    throw new HatchwayError(
      "invalid",
      "the secrets can be in the machine's firmware, on a disk, in a share or come by tcp, not in two of these ways",
    );
  }
  return {
    ...defined<Pick<LaunchOptions, "kernel" | "initrd" | "append">>(rest),
    ...(disk !== undefined && { disk: { path: disk, format: await diskFormat(disk) } }),
    ...(channel === "tcp" && { channel }),
    ...(firmware && {
      firmware: {
        kind: firmware.kind,
        reader: firmware.reader ?? "agent",
        allowReserved: firmware.allow_reserved === true,
      },
    }),
    ...(secrets_disk && { secretsDisk: secrets_disk }),
    ...(share && { share: { by: share.by, form: share.form ?? "sealed" } }),
    ...(enrol && { enrol }),
    memoryMiB: memory_mib ?? DEFAULT_MACHINE.memoryMiB,
    cpus: cpus ?? DEFAULT_MACHINE.cpus,
  };
}

/** What comes without being asked for: with no list what the host's setting says, with one the defaults, with [] none. */
function automatic({ secrets }: VmSaid, attachDefault: "defaults" | "all"): Partial<VmRequest> {
  if (secrets === undefined) return attachDefault === "all" ? { all: true } : { defaults: true };
  return secrets.length === 0 ? {} : { defaults: true };
}

export function grantRequest(secret: string, said: Said<AttachRequest>): GrantRequest {
  return { secret, change: wholeDelivery(said), ...(said.pin === true && { pin: true }) };
}

async function runnerOf(said: string | number | undefined, caller: Caller): Promise<Runner> {
  if (said === undefined) {
    if (caller.kind === "unix") return { uid: caller.uid, gid: caller.gid };
    throw new HatchwayError("invalid", "runner is missing: this caller has no gid that could be taken for it");
  }
  const user = await hostUser(said);
  if (user) return { uid: user.uid, gid: user.gid };
  throw new HatchwayError("invalid", `runner "${said}" is not a user of this host`);
}
