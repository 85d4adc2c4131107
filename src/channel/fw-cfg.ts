import type { BootChannel } from "#channel";
import { credentialsOf, listCredentials, lossesOf, MAX_CREDENTIALS, openCredentials } from "#channel/credentials";
import { HatchwayError } from "#error";

/** Where systemd looks for credentials, systemd.system-credentials(7). */
export const FW_CFG_PREFIX = "opt/io.systemd.credentials/";
/** A name of fw_cfg has 56 bytes with its NUL (FW_CFG_MAX_FILE_PATH). */
const MAX_NAME = 55;
/** Characters of a credential's name, at most. */
export const MAX_CREDENTIAL_NAME: number = MAX_NAME - FW_CFG_PREFIX.length;
/** QEMU's `x-file-slots` has room for more, but each file is one of the process's descriptors until it has started. */
export const MAX_FILES = 512;

/** Files of QEMU's fw_cfg: the guest's kernel shows them below /sys/firmware/qemu_fw_cfg/by_name. */
export const fwCfg: BootChannel = {
  kind: "fw-cfg",

  check(manifest, guest) {
    const all = credentialsOf(manifest, guest);
    for (const { name } of all) checkName(name);
    if (all.length <= MAX_FILES) return;
    throw new HatchwayError("too-large", `${all.length} secrets, and fw_cfg is given at most ${MAX_FILES} files`, {
      hint: "let the agent read all as one, or use a disk",
    });
  },

  measure(manifest, guest) {
    const all = listCredentials(manifest, guest);
    const bytes = { what: "bytes", size: all.reduce((sum, { size }) => sum + size, 0), limit: MAX_CREDENTIALS };
    if (guest.reader === "agent") return [bytes];
    const longest = all.reduce((length, { name }) => Math.max(length, name.length), 0);
    return [
      bytes,
      { what: "secrets", size: all.length, limit: MAX_FILES },
      { what: "characters of a name", size: longest, limit: MAX_CREDENTIAL_NAME },
    ];
  },

  async compose(bundle, guest) {
    this.check(bundle.manifest, guest);
    const names = credentialsOf(bundle.manifest, guest).map(({ name }) => FW_CFG_PREFIX + name);
    const contents = await openCredentials(bundle, guest);
    return {
      items: contents.map((content, at) => ({ kind: "fw-cfg", name: names[at] ?? "", content })),
      lost: lossesOf(bundle.manifest, guest),
    };
  },
};

function checkName(name: string): void {
  if (name.length <= MAX_CREDENTIAL_NAME) return;
  throw new HatchwayError(
    "invalid",
    `secret "${name}" has a name of ${name.length} characters, and fw_cfg has room for ${MAX_CREDENTIAL_NAME} behind "${FW_CFG_PREFIX}"`,
    { hint: "rename the secret, or use smbios" },
  );
}
