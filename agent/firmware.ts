// A bundle that the host put into the machine's firmware before the boot: a file of QEMU's fw_cfg, or a string of SMBIOS's
// type 11. Only root can read either. Nothing new comes there, and nobody listens.
import { BundleReader, type BundleSink } from "#protocol/bundle";
import { asciiBytes } from "#protocol/json";
import { ProtocolError } from "#protocol/error";
import { decodeBase64 } from "./base64.ts";
import { AgentError } from "./error.ts";
import type { Origin } from "./origin.ts";
import type { FirmwareSource } from "./source.ts";
import { poll } from "./stream.ts";
import { HERE, type Sys } from "./sys.ts";
import { openDirectory, readFile, statOrNone, using } from "./tree.ts";

/** The kernel's documentation: ABI/testing/sysfs-firmware-qemu_fw_cfg. */
const FW_CFG = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials";
/** ABI/testing/sysfs-firmware-dmi-entries: one folder for each table, TYPE-INSTANCE. */
const DMI = "/sys/firmware/dmi/entries";
const OEM_STRINGS = /^11-[0-9]{1,3}$/;
/** What the host gives at most, and what all tables have at most. */
const MAX_FW_CFG = 1_048_576;
const MAX_DMI = 65_535;
const BUNDLE = "hatchway.bundle";

/** Whether there is a bundle. */
export function isInFirmware(sys: Sys, kind: FirmwareSource["kind"]): boolean {
  if (kind === "fw-cfg") return statOrNone(sys, HERE, fwCfgPath(BUNDLE)) !== undefined;
  const string = findString(sys, BUNDLE);
  if (!string) return false;
  sys.wipe(string);
  return true;
}

/** What the firmware has under that name of systemd's, of fw_cfg before SMBIOS; the caller wipes it. */
export function readCredential(sys: Sys, name: string): Uint8Array | undefined {
  const path = fwCfgPath(name);
  if (statOrNone(sys, HERE, path)) return readFile(sys, HERE, path, MAX_FW_CFG);
  return readString(sys, name);
}

function fwCfgPath(name: string): string {
  return `${FW_CFG}/${name}/raw`;
}

function readString(sys: Sys, name: string): Uint8Array | undefined {
  const string = findString(sys, name);
  if (!string) return undefined;
  try {
    return decodeBase64(string);
  } finally {
    sys.wipe(string);
  }
}

export class Firmware implements Origin {
  readonly source: FirmwareSource;
  readonly #sys: Sys;

  constructor(sys: Sys, source: FirmwareSource) {
    this.#sys = sys;
    this.source = source;
  }

  bundle(have: string | undefined, waitSeconds: number, sink: BundleSink): "changed" | "same" {
    const bytes = this.#read();
    try {
      // Whole first, so that the sink sees nothing of what is damaged or there already.
      if (revisionOf(bytes) !== have) {
        read(bytes, sink);
        return "changed";
      }
    } finally {
      this.#sys.wipe(bytes);
    }
    if (waitSeconds > 0) poll(this.#sys, -1, 0, waitSeconds * 1000);
    return "same";
  }

  receipt(): void {}

  close(): void {}

  #read(): Uint8Array {
    const sys = this.#sys;
    const { kind } = this.source;
    if (kind === "fw-cfg") {
      const path = fwCfgPath(BUNDLE);
      if (statOrNone(sys, HERE, path)) return readFile(sys, HERE, path, MAX_FW_CFG);
      throw new AgentError("host-gone", `the firmware has no fw_cfg file "${BUNDLE}" (driver qemu_fw_cfg)`);
    }
    const bytes = readString(sys, BUNDLE);
    if (bytes) return bytes;
    throw new AgentError("host-gone", `the firmware has no SMBIOS string "${BUNDLE}"`);
  }
}

/** What stands behind the prefix, in the first table that has it; the caller wipes it. */
function findString(sys: Sys, name: string): Uint8Array | undefined {
  const prefix = asciiBytes(`io.systemd.credential.binary:${name}=`);
  if (!statOrNone(sys, HERE, DMI)) return undefined;
  const entries = using(sys, openDirectory(sys, HERE, DMI), (dir) => sys.readdir(dir));
  for (const entry of entries.filter((one) => OEM_STRINGS.test(one)).sort()) {
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

function revisionOf(bytes: Uint8Array): string {
  let revision = "";
  read(bytes, {
    manifest: (manifest) => {
      revision = manifest.revision;
    },
    entry() {},
    data() {},
    endEntry() {},
  });
  return revision;
}

function read(bytes: Uint8Array, sink: BundleSink): void {
  const reader = new BundleReader(sink);
  reader.push(bytes);
  reader.end();
}
