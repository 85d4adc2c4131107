// The key that opens what is sealed to this guest: in a file that only root can read, or from the host by its firmware.
import { parseIdentity } from "#protocol/age-identity";
import { AgentError } from "./error.ts";
import { firmwareWord } from "./firmware-word.ts";
import { readPrivate } from "./private.ts";
import type { Sys } from "./sys.ts";

/** An identity of age and some comments. */
const MAX_KEY_FILE = 4_096;

/** The key, 32 bytes, which the caller wipes. `file`: --key-file. Throws AgentError "host-gone" where there is none. */
export function openKey(sys: Sys, file: string | undefined): Uint8Array {
  const text = file === undefined ? firmwareWord(sys, "key") : readPrivate(sys, file, MAX_KEY_FILE);
  if (!text) {
    const where = 'no fw_cfg file "opt/org.hatchway/key" (driver qemu_fw_cfg) and no SMBIOS string "org.hatchway.key"';
    throw new AgentError("host-gone", `no key for what is sealed: ${where} (name a file by --key-file)`);
  }
  try {
    return parseIdentity(text);
  } finally {
    sys.wipe(text);
  }
}
