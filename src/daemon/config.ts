import { readFile } from "node:fs/promises";
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
  const { attach, hostgroups } = Setting.parse(path, text)?.fields("attach", "hostgroups") ?? {};
  return {
    attach: attach?.word("defaults", "all") ?? "defaults",
    hostGroups: hostgroups?.entries().map(([name, setting]) => readHostGroup(name, setting)) ?? [
      { name: "vm", launch: DEFAULT_MACHINE, runners: [] },
    ],
  };
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
