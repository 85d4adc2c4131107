// That a guest has to enrol, by which part of its firmware it is told, and for how many boots.
import type { EnrolBody } from "#api-vm";
import { HatchwayError } from "#error";
import { parseCount } from "./quantity.ts";

export interface EnrolFlags {
  /** True: it is said, and not by what. */
  enrol?: string | true;
  reboots?: string;
}

/** Undefined where nothing is said of it. `flag` names the part of the firmware. */
export function readEnrol(flags: EnrolFlags & { enrol: string | true }, flag?: string): EnrolBody;
export function readEnrol(flags: EnrolFlags, flag?: string): EnrolBody | undefined;
export function readEnrol({ enrol, reboots }: EnrolFlags, flag = "--enrol"): EnrolBody | undefined {
  if (enrol === undefined) {
    if (reboots === undefined) return undefined;
    throw new HatchwayError("invalid", "--reboots is of --enrol, which is not given");
  }
  const by = enrol === true ? "fw-cfg" : enrol;
  if (by !== "fw-cfg" && by !== "smbios") {
    throw new HatchwayError("invalid", `${flag} "${by}" is neither fw-cfg nor smbios`);
  }
  return { by, reboots: reboots === undefined ? 0 : parseCount("--reboots", reboots, 0) };
}
