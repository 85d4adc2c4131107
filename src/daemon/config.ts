import { constants } from "node:fs";
import { open, stat, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { TokenFile } from "#admin/tokens";
import { pathProblem, readGuestListen, readListen, readRole, readToken } from "#daemon/access-config";
import type { GuestAddress, ListenAddress } from "#daemon/listen";
import { Setting } from "#daemon/settings";
import { HatchwayError } from "#error";
import { isErrno, ownUid } from "#host/files";
import type { HostGroup } from "#hostgroup";
import { userNameProblem, vmNameProblem } from "#protocol/names";
import type { Places } from "#places";
import type { RoleGrant } from "#role";
import { DEFAULT_MACHINE } from "#vm";

/** The host's settings: `config.yaml`. */
export interface Config {
  /** Where the newest versions lie: `folder` is absolute, and absent where the state's own is meant. */
  store: { kind: "sqlite" } | { kind: "directory"; folder?: string };
  /** What a VM gets whose request has no list of secrets: nothing but the defaults, or all, as Slicer does. */
  attach: "defaults" | "all";
  /** Whether a line of the audit that says a value leaves is on disk before it does, or written only. */
  audit: "written" | "durable";
  /** Of Slicer's routes; there is always one. */
  hostGroups: HostGroup[];
  /** Where the admin API is served besides its socket. */
  listen: ListenAddress[];
  tokens: TokenFile[];
  /** Where guests are served that come over a network. */
  guestListen: GuestAddress[];
  /** Who may do what; undefined: whoever gets in may do all. */
  roles?: RoleGrant[];
  /** The VM that this host itself is taken for on AF_VSOCK (CID 1), whichever of its processes calls. */
  localVsock?: string;
}

/** The folder of plain secrets, absolute; also where one is only meant. */
export function secretsFolder({ store }: Config, { state }: Pick<Places, "state">): string {
  return store.kind === "directory" && store.folder !== undefined ? store.folder : join(state, ".secrets");
}

/** Reads the settings; a missing file means the defaults. Throws "invalid" with the line of what is wrong. */
export async function readConfig(path: string): Promise<Config> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY);
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return parseConfig(path, "");
    throw new HatchwayError("unavailable", `cannot read the configuration "${path}"`, { cause });
  }
  try {
    const config = parseConfig(path, await file.readFile("utf8"));
    // Who can write these decides who gets in.
    const { roles, listen, tokens, guestListen, localVsock } = config;
    if (roles || localVsock !== undefined || listen.length > 0 || tokens.length > 0 || guestListen.length > 0) {
      refuseOthers(path, await file.stat());
      refuseOthers(dirname(path), await stat(dirname(path)));
    }
    return config;
  } catch (cause) {
    if (cause instanceof HatchwayError) throw cause;
    throw new HatchwayError("unavailable", `cannot read the configuration "${path}"`, { cause });
  } finally {
    await file.close();
  }
}

/** Throws "forbidden" unless only root and the daemon's own user can write there. */
function refuseOthers(path: string, { uid, mode }: { uid: number; mode: number }): void {
  if (uid !== 0 && uid !== ownUid()) {
    throw new HatchwayError("forbidden", `"${path}" says who may do what, and belongs to uid ${uid}`, {
      hint: `chown root ${path}`,
    });
  }
  if ((mode & 0o022) === 0) return;
  throw new HatchwayError("forbidden", `"${path}" says who may do what, and others can write to it`, {
    hint: `chmod go-w ${path}`,
  });
}

const KEYS = [
  "store",
  "secrets-folder",
  "attach",
  "audit",
  "hostgroups",
  "listen",
  "guest-listen",
  "tokens",
  "roles",
  "vsock-local",
] as const;

export function parseConfig(path: string, text: string): Config {
  const said = Setting.parse(path, text)?.fields(...KEYS) ?? {};
  const {
    store,
    "secrets-folder": folder,
    attach,
    audit,
    hostgroups,
    listen,
    tokens,
    roles,
    "vsock-local": local,
  } = said;
  const tokenFiles = tokens?.entries().map(([id, setting]) => readToken(id, setting)) ?? [];
  return {
    store: readStore(store, folder),
    attach: attach?.word("defaults", "all") ?? "defaults",
    audit: audit?.word("written", "durable") ?? "written",
    hostGroups: hostgroups?.entries().map(([name, setting]) => readHostGroup(name, setting)) ?? [
      { name: "vm", launch: DEFAULT_MACHINE, runners: [] },
    ],
    listen: listen?.list().map((setting) => readListen(setting, tokenFiles.length > 0)) ?? [],
    tokens: tokenFiles,
    ...(local && { localVsock: local.text(vmNameProblem) }),
    guestListen:
      said["guest-listen"]?.list().map((setting) => readGuestListen(setting, join(dirname(path), "pki"))) ?? [],
    ...(roles && { roles: roles.list().map((setting) => readRole(setting, tokenFiles)) }),
  };
}

function readStore(store: Setting | undefined, folder: Setting | undefined): Config["store"] {
  const kind = store?.word("sqlite", "directory") ?? "sqlite";
  if (kind === "directory") return { kind, ...(folder && { folder: folder.text(pathProblem) }) };
  if (folder) throw folder.wrong("is for store: directory");
  return { kind };
}

function readHostGroup(name: string, setting: Setting): HostGroup {
  // Its VMs are NAME-1, NAME-2, and so on.
  const problem = vmNameProblem(`${name}-9999999`);
  if (problem !== undefined) throw setting.wrong("is not a name: 1 to 55 of A-Z a-z 0-9 . _ -, the first no sign");
  const said = setting.fields("kernel", "initrd", "disk", "memory_mib", "cpus", "append", "runners");
  const { kernel, initrd, disk, append } = said;
  return {
    name,
    launch: {
      memoryMiB: said.memory_mib?.integer(64, 1_048_576) ?? DEFAULT_MACHINE.memoryMiB,
      cpus: said.cpus?.integer(1, 255) ?? DEFAULT_MACHINE.cpus,
      ...(kernel && { kernel: kernel.text(pathProblem) }),
      ...(initrd && { initrd: initrd.text(pathProblem) }),
      ...(disk && { disk: disk.text(pathProblem) }),
      ...(append && { append: append.text((text) => (/^[ -~]{0,1024}$/.test(text) ? undefined : "is not ascii")) }),
    },
    runners: said.runners?.list().map(readUser) ?? [],
  };
}

function readUser(setting: Setting): string | number {
  return setting.isNumber ? setting.integer(0, 4_294_967_294) : setting.text(userNameProblem);
}
