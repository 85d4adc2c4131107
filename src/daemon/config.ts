import { readFile } from "node:fs/promises";
import type { TokenFile } from "#admin/tokens";
import { addressProblem, parseAddress, type ListenAddress } from "#daemon/listen";
import { Setting } from "#daemon/settings";
import { HatchwayError } from "#error";
import { isErrno } from "#host/files";
import type { HostGroup } from "#hostgroup";
import { userNameProblem, vmNameProblem } from "#protocol/names";
import { DEFAULT_MACHINE } from "#vm";

/** The host's settings: `config.yaml`. */
export interface Config {
  /** What a VM gets whose request has no list of secrets: nothing but the defaults, or all, as Slicer does. */
  attach: "defaults" | "all";
  /** Of Slicer's routes; there is always one. */
  hostGroups: HostGroup[];
  /** Where the admin API is served besides its socket. */
  listen: ListenAddress[];
  tokens: TokenFile[];
}

/** Reads the settings; a missing file means the defaults. Throws "invalid" with the line of what is wrong. */
export async function readConfig(path: string): Promise<Config> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return parseConfig(path, "");
    throw new HatchwayError("unavailable", `cannot read the configuration "${path}"`, { cause });
  }
  return parseConfig(path, text);
}

export function parseConfig(path: string, text: string): Config {
  const { attach, hostgroups, listen, tokens } =
    Setting.parse(path, text)?.fields("attach", "hostgroups", "listen", "tokens") ?? {};
  const tokenFiles = tokens?.entries().map(([id, setting]) => readToken(id, setting)) ?? [];
  return {
    attach: attach?.word("defaults", "all") ?? "defaults",
    hostGroups: hostgroups?.entries().map(([name, setting]) => readHostGroup(name, setting)) ?? [
      { name: "vm", launch: DEFAULT_MACHINE, runners: [] },
    ],
    listen: listen?.list().map((setting) => readListen(setting, tokenFiles.length > 0)) ?? [],
    tokens: tokenFiles,
  };
}

function readToken(id: string, setting: Setting): TokenFile {
  const problem = vmNameProblem(id);
  if (problem !== undefined) throw setting.wrong("is not a token's name: 1 to 63 of A-Z a-z 0-9 . _ -");
  return { id, path: setting.text(pathProblem) };
}

/** An address alone, or with the files of TLS. */
function readListen(setting: Setting, hasTokens: boolean): ListenAddress {
  const said = setting.isText ? { address: setting } : setting.fields("address", "certificate", "key", "clients");
  const { address, certificate, key, clients } = said;
  const at = parseAddress(address?.text() ?? "");
  if (!at) throw (address ?? setting).wrong('is not an address and a port, such as "127.0.0.1:8080"');
  if ((certificate === undefined) !== (key === undefined)) throw setting.wrong("has one of certificate and key");
  if (clients && !certificate) throw clients.wrong("is of TLS, which needs a certificate and key");
  const tls = certificate &&
    key && {
      certificate: certificate.text(pathProblem),
      key: key.text(pathProblem),
      ...(clients && { clients: clients.text(pathProblem) }),
    };
  const listen = { ...at, ...(tls && { tls }) };
  const problem = addressProblem(listen, hasTokens);
  if (problem !== undefined) throw setting.wrong(problem);
  return listen;
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

function pathProblem(text: string): string | undefined {
  return text.startsWith("/") ? undefined : "is not an absolute path";
}
