// What the host puts into the machine's firmware for the agent alone: a file of QEMU's fw_cfg or a string of SMBIOS's type
// 11. Its names are ours, so that systemd takes none of them for a credential. Only root can read either.
import { asciiBytes } from "#protocol/json";
import { ProtocolError } from "#protocol/error";
import { failedWith, HERE, type Sys } from "./sys.ts";
import { openDirectory, readFile, statOrNone, using } from "./tree.ts";

/** The kernel's documentation: ABI/testing/sysfs-firmware-qemu_fw_cfg. */
const FW_CFG = "/sys/firmware/qemu_fw_cfg/by_name";
/** ABI/testing/sysfs-firmware-dmi-entries: one folder for each table, TYPE-INSTANCE. */
const DMI = "/sys/firmware/dmi/entries";
const OEM_STRINGS = /^11-[0-9]{1,3}$/;
/** What all tables have at most. */
const MAX_DMI = 65_535;
const MAX_WORD = 65_535;

/** The words: a key that opens what is sealed, what a guest enrols with, and what it shows by TLS. */
export type Word = "key" | "enrol" | "tls";

/**
 * What the host says by this word, by fw_cfg or else by SMBIOS; undefined where it says nothing, or nothing that this process
 * may read: root of a container may not. The caller wipes it.
 */
export function firmwareWord(sys: Sys, word: Word): Uint8Array | undefined {
  const file = fwCfgFile(`opt/org.hatchway/${word}`);
  try {
    if (statOrNone(sys, HERE, file)) return readFile(sys, HERE, file, MAX_WORD);
    return findString(sys, asciiBytes(`org.hatchway.${word}=`));
  } catch (error) {
    if (failedWith(error, "EACCES", "EPERM")) return undefined;
    throw error;
  }
}

export function fwCfgFile(name: string): string {
  return `${FW_CFG}/${name}/raw`;
}

/** What stands behind the prefix, in the first table that has it; the caller wipes it. */
export function findString(sys: Sys, prefix: Uint8Array): Uint8Array | undefined {
  if (!statOrNone(sys, HERE, DMI)) return undefined;
  const entries = using(sys, openDirectory(sys, HERE, DMI), (dir) => sys.readdir(dir));
  for (const entry of entries.filter((name) => OEM_STRINGS.test(name)).sort()) {
    const table = readFile(sys, HERE, `${DMI}/${entry}/raw`, MAX_DMI);
    try {
      const found = stringsOf(table).find((string) => prefix.every((byte, at) => byte === string[at]));
      if (found) return found.slice(prefix.length);
    } finally {
      sys.wipe(table);
    }
  }
  return undefined;
}

/** The strings behind a table's formatted part, whose length is its second byte (DSP0134, 6.1.3). */
export function stringsOf(table: Uint8Array): Uint8Array[] {
  const strings: Uint8Array[] = [];
  for (let at = table[1] ?? table.length; at < table.length;) {
    const end = table.indexOf(0, at);
    if (end < 0) throw new ProtocolError("smbios: a table ends in a string");
    if (end === at) break;
    strings.push(table.subarray(at, end));
    at = end + 1;
  }
  return strings;
}
