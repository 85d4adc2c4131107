// vm args: what a VMM of one's own is told of a VM, ready to paste. What is on stdout is that and nothing else.
import { resolve } from "node:path";
import type { ArgumentsBody, WiringQuery } from "#api-vm";
import { HatchwayError } from "#error";
import { FORMS, VMMS, WIRED, type VmmName } from "#wiring";
import { parseMemory } from "./quantity.ts";
import type { Session } from "./session.ts";

/** What `vm args` and `vm explain` have in common. */
export interface WiringFlags {
  vmm?: string;
  guest?: string;
  memory?: string;
  allowReserved?: true;
}

export interface ArgsFlags extends WiringFlags {
  channel?: string;
  file?: string;
  form?: string;
}

export async function vmArgs(session: Session, [name = ""]: readonly string[], flags: ArgsFlags): Promise<undefined> {
  const form = flags.form === undefined ? undefined : oneOf("--form", FORMS, flags.form);
  const body = await session.client.vmArguments(name, {
    ...readWiring(flags),
    ...(flags.channel !== undefined && { channel: oneOf("--channel", WIRED, flags.channel) }),
    ...(flags.file !== undefined && { file: resolve(flags.file) }),
  });
  const chosen = form === undefined ? body.forms[0] : body.forms.find((one) => one.name === form);
  if (!chosen) {
    const names = body.forms.map((one) => one.name).join(", ");
    throw new HatchwayError("invalid", `${body.vmm} takes ${body.channel} as ${names}, not as "${form}"`);
  }
  session.report(body, () => chosen.text);
  if (!session.json) comment(session, body, chosen);
}

function comment(
  session: Session,
  { vmm, qemu, channel, forms, notes }: ArgumentsBody,
  chosen: { what: string },
): void {
  const others = forms.filter((one) => one !== chosen).map(({ name, what }) => `--form ${name}: ${what}`);
  const lines = [`${channel} for ${describeVmm(vmm, qemu)}: ${chosen.what}`, ...notes, ...others];
  session.terminal.stderr.write(lines.map((line) => `# ${line}\n`).join(""));
}

/** With the version of the QEMU that it is for. */
export function describeVmm(vmm: VmmName, qemu: string | undefined): string {
  if (qemu === undefined) return vmm;
  return vmm === "qemu" ? `qemu ${qemu}` : `${vmm} with QEMU ${qemu}`;
}

/** `--vmm qemu=7.2`, `--guest systemd=252`. */
export function readWiring({ vmm, guest, memory, allowReserved }: WiringFlags): WiringQuery {
  return {
    ...(vmm !== undefined && readVmm(vmm)),
    ...(guest !== undefined && readGuest(guest)),
    ...(memory !== undefined && { memory_mib: String(parseMemory("--memory", memory)) }),
    ...(allowReserved === true && { allow_reserved: "true" as const }),
  };
}

function readVmm(text: string): WiringQuery {
  const [word = "", version] = text.split(/=(.*)/s);
  const vmm: VmmName = oneOf("--vmm", VMMS, word);
  if (version === undefined) return { vmm };
  if (vmm === "qemu") return { vmm, qemu: version };
  throw new HatchwayError("invalid", `--vmm "${text}" has a version, which counts for qemu alone`);
}

function readGuest(text: string): WiringQuery {
  const [word = "", version] = text.split(/=(.*)/s);
  const guest = oneOf("--guest", ["systemd", "other"] as const, word);
  if (version === undefined) return { guest };
  if (guest === "systemd" && /^[0-9]{1,4}$/.test(version)) return { guest, systemd: version };
  throw new HatchwayError("invalid", `--guest "${text}" should be systemd, systemd=257, or other`);
}

export function oneOf<Word extends string>(flag: string, words: readonly Word[], said: string): Word {
  const word = words.find((one) => one === said);
  if (word !== undefined) return word;
  throw new HatchwayError("invalid", `${flag} "${said}" is none of ${words.join(", ")}`);
}
