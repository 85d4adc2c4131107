// doctor: the daemon, and what this machine has for VMs.
import { spawnSync } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { StatusBody } from "#api";
import { VERSION } from "#version";
import { isAtLeast, parseVersion } from "#wiring";
import type { Finding } from "./doctor.ts";

/** What the daemon says of itself; `isLocal`: its files are of this machine. */
export function daemonFindings(status: StatusBody, isLocal: boolean): Finding[] {
  return [
    running(status),
    keys(status),
    ...(isLocal ? [privacy("socket", status.socket), privacy("state", status.state)] : []),
    ...store(status),
  ];
}

function running({ version, mode, pid, socket }: StatusBody): Finding {
  const detail = `hatchway ${version}, ${mode}, pid ${pid}, on ${socket}`;
  if (version === VERSION) return { what: "daemon", state: "ok", detail };
  const mend = `hatchway stop && hatchway serve --${mode} --background`;
  return { what: "daemon", state: "warn", detail: `${detail}, and this command is ${VERSION}`, mend };
}

function keys({ sealed, store: { kind, revision } }: StatusBody): Finding {
  if (!sealed) return { what: "store", state: "ok", detail: `${kind}, revision ${revision}, its keys are open` };
  return {
    what: "store",
    state: "fail",
    detail: "its keys are sealed: nothing can be read",
    mend: "hatchway key unseal",
  };
}

/** The system's socket may be open to a group, and nothing of it to all. */
function privacy(what: string, path: string): Finding {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return { what, state: "fail", detail: `there is no "${path}"`, mend: "hatchway stop, and serve again" };
  const mode = (stat.mode & 0o777).toString(8).padStart(4, "0");
  const detail = `${path}, of uid ${stat.uid}, ${mode}`;
  const most = what === "socket" ? 0o007 : 0o077;
  if ((stat.mode & most) === 0) return { what, state: "ok", detail };
  return {
    what,
    state: "fail",
    detail: `${detail}: others get in`,
    mend: `chmod ${what === "socket" ? "o-rwx" : "go-rwx"} ${path}`,
  };
}

function store({ store: { folder = "", problems = [] } }: StatusBody): Finding[] {
  return problems.map(({ name, problem }) => {
    return { what: "folder", state: "warn", detail: `"${name === "" ? folder : join(folder, name)}" ${problem}` };
  });
}

/** Without a daemon too. */
export function hostFindings(env: NodeJS.ProcessEnv): Finding[] {
  return [kvm(), qemu(env), vhostVsock(env), systemdCreds(env)];
}

function kvm(): Finding {
  const path = "/dev/kvm";
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return { what: "kvm", state: "ok", detail: `${path} opens; vm show says of each VM whether it is used` };
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return { what: "kvm", state: "note", detail: `there is no ${path}: guests are emulated` };
    const mend = "usermod -aG kvm USER, for who runs the VM; then log in anew";
    return { what: "kvm", state: "warn", detail: `${path} does not open for you (${code}): guests are emulated`, mend };
  }
}

const QEMU = "qemu-system-x86_64";

function qemu(env: NodeJS.ProcessEnv): Finding {
  const path = find(QEMU, env);
  const install = "apt-get install qemu-system-x86";
  if (path === undefined) {
    return { what: "qemu", state: "warn", detail: `no ${QEMU} in PATH: nothing can be launched`, mend: install };
  }
  const version = parseVersion(versionOf(path));
  if (!version) return { what: "qemu", state: "warn", detail: `${path} does not say its version`, mend: install };
  const shown = `${path}, version ${version.major}.${version.minor}.${version.patch}`;
  const isMended = version.major === 7 && version.minor === 2 ? version.patch >= 18 : isAtLeast(version, 10, 0);
  if (isMended) return { what: "qemu", state: "ok", detail: shown };
  return { what: "qemu", state: "note", detail: `${shown}: its -smbios path= reads too far, use fw-cfg instead` };
}

function vhostVsock(env: NodeJS.ProcessEnv): Finding {
  const path = find("vhost-device-vsock", env);
  if (path !== undefined) return { what: "vsock", state: "ok", detail: `${path} brings QEMU's guests a hybrid vsock` };
  return { what: "vsock", state: "note", detail: "no vhost-device-vsock in PATH, which vsock with QEMU needs" };
}

function systemdCreds(env: NodeJS.ProcessEnv): Finding {
  const path = find("systemd-creds", env);
  if (path !== undefined) return { what: "systemd", state: "ok", detail: `${path} seals keys and credentials` };
  return {
    what: "systemd",
    state: "note",
    detail: "no systemd-creds in PATH, which sealing to this host or its TPM needs",
  };
}

function versionOf(path: string): string {
  const { stdout } = spawnSync(path, ["--version"], { encoding: "utf8", timeout: 10_000 });
  return stdout;
}

function find(program: string, { PATH = "/usr/bin:/bin" }: NodeJS.ProcessEnv): string | undefined {
  return PATH.split(delimiter)
    .filter((folder) => folder.startsWith("/"))
    .map((folder) => join(folder, program))
    .find((path) => isProgram(path));
}

function isProgram(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat !== undefined && stat.isFile() && (stat.mode & 0o111) !== 0;
}
