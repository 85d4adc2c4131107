// A bundle that the host put into the machine's firmware before the boot: a file of QEMU's fw_cfg, or a string of SMBIOS's
// type 11. Only root can read either. Nothing new comes there, and nobody listens.
import { BundleReader, type BundleSink } from "#protocol/bundle";
import { asciiBytes } from "#protocol/json";
import { decodeBase64 } from "./base64.ts";
import { AgentError } from "./error.ts";
import { findString, fwCfgFile } from "./firmware-word.ts";
import type { Origin } from "./origin.ts";
import type { FirmwareSource } from "./source.ts";
import { poll } from "./stream.ts";
import { HERE, type Sys } from "./sys.ts";
import { readFile, statOrNone } from "./tree.ts";

const FW_CFG = fwCfgFile("opt/io.systemd.credentials/hatchway.bundle");
/** What the host gives at most. */
const MAX_FW_CFG = 1_048_576;
const PREFIX = asciiBytes("io.systemd.credential.binary:hatchway.bundle=");

/** Whether there is a bundle. */
export function isInFirmware(sys: Sys, kind: FirmwareSource["kind"]): boolean {
  if (kind === "fw-cfg") return statOrNone(sys, HERE, FW_CFG) !== undefined;
  const string = findString(sys, PREFIX);
  if (!string) return false;
  sys.wipe(string);
  return true;
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
      if (statOrNone(sys, HERE, FW_CFG)) return readFile(sys, HERE, FW_CFG, MAX_FW_CFG);
      throw new AgentError("host-gone", 'the firmware has no fw_cfg file "hatchway.bundle" (driver qemu_fw_cfg)');
    }
    const string = findString(sys, PREFIX);
    if (!string) throw new AgentError("host-gone", 'the firmware has no SMBIOS string "hatchway.bundle"');
    try {
      return decodeBase64(string);
    } finally {
      sys.wipe(string);
    }
  }
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
