// doctor: one VM, from its process to what its guest has applied.
import { lstatSync, readFileSync } from "node:fs";
import type { StatusBody } from "#api";
import type { VmBody } from "#api-vm";
import { isSocketListening } from "./doctor-sockets.ts";
import { describeBehind, syncOf } from "./convergence.ts";
import { formatAge, plural } from "./quantity.ts";
import type { Finding } from "./doctor.ts";
import { describeAccelerator } from "./vm-launch.ts";

/** Milliseconds after which an agent that runs has asked again: it waits for at most a minute. */
const SILENT = 150_000;

/** One line of a VM among others. */
export function vmSummary(vm: VmBody, daemon: StatusBody): Finding {
  const what = `vm ${vm.name}`;
  const worst = vmFindings(vm, daemon, false).find(({ state }) => state === "fail" || state === "warn");
  if (!worst)
    return { what, state: "ok", detail: `${vm.state}, ${plural(vm.secrets.length, "secret")}, ${syncOf(vm)}` };
  return { what, state: worst.state, detail: `${worst.what}: ${worst.detail}`, mend: `hatchway doctor ${vm.name}` };
}

/** `isLocal`: its sockets are of this machine. */
export function vmFindings(vm: VmBody, daemon: StatusBody, isLocal: boolean): Finding[] {
  const { channels, control_socket: control, runner } = vm;
  const sockets = isLocal
    ? [...channels.map((one) => [one.kind, placeOf(one)] as const), ["control", control] as const]
    : [];
  const unix = isLocal ? readFileSync("/proc/net/unix", "latin1") : "";
  return [
    machine(vm),
    ...adoption(vm),
    runnerOf(vm, daemon),
    ...sockets.map(([what, path]) => socket(what, path, runner.uid, isMoved(vm, what) ? undefined : unix)),
    grants(vm),
    ...contact(vm),
    ...enrolment(vm),
    ...alarms(vm),
    ...refusals(vm),
  ];
}

/** The socket itself: of vsock the VMM is told the path without its port. */
function placeOf({ kind, path }: VmBody["channels"][number]): string {
  return kind === "vsock" ? `${path}_5107` : path;
}

/** The kernel lists a socket by the path that it was bound to, and one beside another's vsock was moved there. */
function isMoved({ adopted }: VmBody, what: string): boolean {
  return what === "vsock" && adopted !== undefined && "uds" in adopted;
}

function machine(vm: VmBody): Finding {
  const { state, pid } = vm;
  if (state === "running") return { what: "machine", state: "ok", detail: `process ${pid}${describeAccelerator(vm)}` };
  return stopped(vm);
}

function stopped({ name, state, reason, launch, adopted }: VmBody): Finding {
  const detail = reason === undefined ? state : `${state}: ${reason}`;
  if (state === "defined" && !adopted) {
    const seen = "something else runs it, and nobody said which process it is";
    return { what: "machine", state: "note", detail: seen };
  }
  if (!launch) return { what: "machine", state: "warn", detail, mend: "start it with the tool that runs it" };
  const mend = state === "failed" ? `hatchway vm logs ${name}; hatchway vm start ${name}` : `hatchway vm start ${name}`;
  return { what: "machine", state: state === "failed" ? "fail" : "warn", detail, mend };
}

function adoption({ name, problem }: VmBody): Finding[] {
  if (!problem) return [];
  const mend = problem.hint?.replaceAll("NAME", name);
  return [{ what: "adopted", state: "fail", detail: problem.message, ...(mend !== undefined && { mend }) }];
}

function runnerOf({ name, runner }: VmBody, { mode }: StatusBody): Finding {
  const { uid, gid, name: user } = runner;
  if (user === undefined) {
    const mend = `hatchway vm remove ${name}, and make it with --runner USER`;
    return { what: "runner", state: "fail", detail: `there is no user ${uid}:${gid} any more`, mend };
  }
  const detail = `${user} ${uid}:${gid}`;
  if (uid !== 0 || mode !== "system") return { what: "runner", state: "ok", detail };
  return { what: "runner", state: "warn", detail: `${detail}: a guest that breaks out of its VMM has the host` };
}

/** By /proc/net/unix: to connect would be taken for the VMM's doing. */
function socket(what: string, path: string, runner: number, unix: string | undefined): Finding {
  const mend = "hatchway logs, which says why; then hatchway stop, and serve again";
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat?.isSocket()) return { what, state: "fail", detail: `there is no socket "${path}"`, mend };
  const mode = stat.mode & 0o777;
  if (stat.uid !== runner || (mode & 0o077) !== 0) {
    const shown = mode.toString(8).padStart(4, "0");
    return {
      what,
      state: "fail",
      detail: `${path} is of uid ${stat.uid}, ${shown}: should be of ${runner}, 0600`,
      mend,
    };
  }
  if (unix === undefined || isSocketListening(unix, path)) return { what, state: "ok", detail: path };
  return { what, state: "fail", detail: `nobody listens on "${path}"`, mend };
}

function grants({ name, secrets }: VmBody): Finding {
  if (secrets.length > 0) return { what: "grants", state: "ok", detail: `${secrets.length}: ${secrets.join(", ")}` };
  return { what: "grants", state: "warn", detail: "it has no secrets", mend: `hatchway vm attach ${name} SECRET` };
}

/** Boot channels have no way back: a guest that never asks may have all. */
function contact(vm: VmBody): Finding[] {
  const { name, state, launch, convergence } = vm;
  const { last_contact: last, in_sync: inSync, applied } = convergence;
  if (launch?.firmware || launch?.secrets_disk) {
    return [
      {
        what: "contact",
        state: "note",
        detail: "its secrets are there from its boot on; nobody says what became of them",
      },
    ];
  }
  if (last === undefined) {
    const isUp = state === "running";
    const mend = "in the guest: hatchway-agent doctor; hatchway-agent run";
    return [
      { what: "contact", state: isUp ? "fail" : "note", detail: "its guest has never asked", ...(isUp && { mend }) },
    ];
  }
  const age = formatAge(last);
  const isSilent = state === "running" && Date.now() - Date.parse(last) > SILENT;
  const asked: Finding = isSilent
    ? {
        what: "contact",
        state: "fail",
        detail: `its agent is silent, last ${age}`,
        mend: "in the guest: hatchway-agent status; hatchway-agent run",
      }
    : { what: "contact", state: "ok", detail: `last ${age}` };
  if (inSync) return [asked, { what: "sync", state: "ok", detail: `revision ${applied}` }];
  return [
    asked,
    { what: "sync", state: "fail", detail: describeBehind(vm), mend: `hatchway vm status ${name} --wait` },
  ];
}

/** A token is of one start, and for as many boots as it was made for. */
function enrolment({ name, state, launch, convergence }: VmBody): Finding[] {
  const stands = convergence.enrolment;
  const what = "enrolment";
  if (!stands) return [];
  if (stands.state === "enrolled") return [{ what, state: "ok", detail: "its guest has used its token" }];
  if (stands.state === "waiting") {
    const mend = "in the guest: hatchway-agent doctor, which says whether the firmware has a token";
    return [{ what, state: "note", detail: "nobody has used its token", ...(state === "running" && { mend }) }];
  }
  const mend = launch
    ? `hatchway vm stop ${name} && hatchway vm start ${name}`
    : `hatchway vm enrol ${name} --out FILE, and start it with that`;
  return [{ what, state: "fail", detail: "its guest has booted more often than its token is for", mend }];
}

function alarms({ name, launch, convergence }: VmBody): Finding[] {
  const again = launch ? `hatchway vm stop ${name} && hatchway vm start ${name}` : "start the VM anew";
  return convergence.alarms.map(({ what, count, at }) => {
    const detail = `${what}, ${plural(count, "time")}, last ${formatAge(at)}: another process than the agent called`;
    return { what: "alarm", state: "fail", detail, mend: `rotate what it has; ${again}, its agent first` };
  });
}

function refusals({ name, convergence }: VmBody): Finding[] {
  return convergence.refused.map(({ name: secret, reason }) => {
    return { what: "refused", state: "fail", detail: `"${secret}": ${reason}`, mend: mendOf(name, secret, reason) };
  });
}

/** A reason is the guest's word; only its kind is looked at. */
function mendOf(vm: string, secret: string, reason: string): string {
  if (/no (?:user|group)/.test(reason))
    return `add it to the guest, or: hatchway vm attach ${vm} ${secret} --owner USER`;
  return `in the guest: hatchway-agent doctor; hatchway vm attach ${vm} ${secret} --help`;
}
