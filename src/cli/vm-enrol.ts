// vm enrol: the token with which the guest of a VM that something else starts proves that it is that VM's.
import { resolve } from "node:path";
import { HatchwayError } from "#error";
import { FW_CFG_WORD, SMBIOS_WORD } from "#api-vm";
import { NewFile } from "./image-file.ts";
import { parseCount } from "./quantity.ts";
import type { Session } from "./session.ts";

export interface EnrolFlags {
  out: string;
  by?: string;
  reboots?: string;
}

export async function enrolVm(session: Session, [vm = ""]: readonly string[], flags: EnrolFlags): Promise<undefined> {
  const by = flags.by ?? "fw-cfg";
  if (by !== "fw-cfg" && by !== "smbios") {
    throw new HatchwayError("invalid", `--by "${by}" is neither fw-cfg nor smbios`);
  }
  const reboots = flags.reboots === undefined ? 0 : parseCount("--reboots", flags.reboots, 0);
  const file = new NewFile(resolve(flags.out));
  try {
    if (by === "smbios") file.write(Buffer.from(`${SMBIOS_WORD}enrol=`));
    await session.client.mintToken(vm, { reboots }, (bytes) => file.write(bytes));
    file.finish();
  } catch (error) {
    file.abandon();
    throw error;
  }
  const { path } = file;
  const told = by === "smbios" ? `-smbios type=11,path=${path}` : `-fw_cfg name=${FW_CFG_WORD}enrol,file=${path}`;
  session.report({ vm, by, reboots, path }, () => {
    return `wrote the token of vm "${vm}" to "${path}": its guest has to enrol from now on\ntell QEMU of it: ${told}`;
  });
}
