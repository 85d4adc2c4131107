// vm enrol: the token with which the guest of a VM that something else starts proves that it is that VM's.
import { resolve } from "node:path";
import { readEnrol } from "./enrol-flags.ts";
import { wordOption, writeWord } from "./enrol-word.ts";
import { NewFile } from "./image-file.ts";
import type { Session } from "./session.ts";

export interface TokenFlags {
  out: string;
  by?: string;
  reboots?: string;
}

export async function enrolVm(
  session: Session,
  [vm = ""]: readonly string[],
  { out, by: said, reboots: more }: TokenFlags,
): Promise<undefined> {
  const enrol = readEnrol({ enrol: said ?? true, ...(more !== undefined && { reboots: more }) }, "--by");
  const file = new NewFile(resolve(out));
  try {
    await writeWord(session.client, vm, enrol, (piece) => file.write(piece));
    file.finish();
  } catch (error) {
    file.abandon();
    throw error;
  }
  const { path } = file;
  session.report({ vm, ...enrol, path }, () => {
    const told = wordOption(enrol.by, path).join(" ");
    return `wrote the token of vm "${vm}" to "${path}": its guest has to enrol from now on\ntell QEMU of it: ${told}`;
  });
}
