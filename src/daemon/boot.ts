import type { BootChannel } from "#channel";
import { TLS_CREDENTIAL } from "#channel/credentials";
import { fwCfg, FW_CFG_PREFIX } from "#channel/fw-cfg";
import { smbios } from "#channel/smbios";
import type { Caller } from "#caller";
import type { Vault } from "#vault";
import type { SecretsDisk, Vm } from "#vm";
import type { BootSecrets } from "#vmm";
import { encodeBundle } from "#bundle/image";
import type { Bundle } from "#bundle";
import { valueBuffer } from "#value-buffer";

const CHANNELS: Record<BootChannel["kind"], BootChannel> = { "fw-cfg": fwCfg, smbios };

/** Where the guest's agent looks for what it shows by TLS (agent/identity.ts). */
const TLS_FILE = `${FW_CFG_PREFIX}${TLS_CREDENTIAL}`;

/**
 * What the VM is to have from its boot on, opened at this moment; nothing for one that has its secrets another way. `identify`
 * makes what it shows by TLS, for one whose secrets come by that. `log` is
 * told what is lost. Throws as a boot channel does, and as an image.
 */
export async function composeBoot(
  vault: Vault,
  self: Caller,
  vm: Vm,
  identify: (vm: Vm) => Promise<Buffer>,
  log: (line: string) => void,
): Promise<BootSecrets> {
  const { id, name, launch } = vm;
  if (launch?.channel === "tcp") {
    return { firmware: [{ kind: "fw-cfg", name: TLS_FILE, content: await identify(vm) }], network: true };
  }
  if (launch?.secretsDisk) {
    const secretsDisk = await imageOf(await vault.resolve(self, id), launch.secretsDisk);
    log(`vm "${name}" has its secrets on a disk, which does not bring: changes`);
    return { secretsDisk };
  }
  if (!launch?.firmware) return {};
  const { kind, reader, allowReserved } = launch.firmware;
  const guest = { reader, allowReserved, memoryMiB: launch.memoryMiB };
  const { items, lost } = await CHANNELS[kind].compose(await vault.resolve(self, id), guest);
  log(`vm "${name}" has its secrets by ${kind}, which does not bring: ${lost.join(", ")}`);
  return { firmware: items };
}

/** The whole image in memory; the caller wipes it. */
async function imageOf(bundle: Bundle, format: SecretsDisk): Promise<Buffer> {
  const encoding = encodeBundle(bundle, format);
  const image = valueBuffer(encoding.size);
  let at = 0;
  try {
    await encoding.writeTo(async (bytes) => {
      image.set(bytes, at);
      at += bytes.length;
    });
    return image;
  } catch (error) {
    image.fill(0);
    throw error;
  }
}
