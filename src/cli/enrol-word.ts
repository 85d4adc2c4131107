// A token as a file that QEMU reads into a machine's firmware.
import { FW_CFG_WORD, SMBIOS_WORD, type EnrolBody } from "#api-vm";
import type { Client } from "#client/client";

/** Makes a token; `take` gets what the file is to hold, in pieces that are wiped after each call. */
export async function writeWord(
  client: Client,
  vm: string,
  { by, reboots }: EnrolBody,
  take: (piece: Buffer) => void,
): Promise<void> {
  let isFirst = true;
  await client.mintToken(vm, { reboots }, (piece) => {
    if (isFirst && by === "smbios") take(Buffer.from(`${SMBIOS_WORD}enrol=`));
    isFirst = false;
    take(piece);
  });
}

/** What QEMU is told of that file. */
export function wordOption(by: EnrolBody["by"], path: string): [flag: string, value: string] {
  return by === "smbios" ? ["-smbios", `type=11,path=${path}`] : ["-fw_cfg", `name=${FW_CFG_WORD}enrol,file=${path}`];
}
