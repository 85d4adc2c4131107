import type { BootChannel } from "#channel";
import { fwCfg } from "#channel/fw-cfg";
import { firmwareWord } from "#channel/firmware-word";
import { smbios } from "#channel/smbios";
import type { Caller } from "#caller";
import type { GuestIdentities } from "#daemon/guest-identities";
import type { Vault } from "#vault";
import type { EnrolOptions, SecretsDisk, Vm } from "#vm";
import type { BootSecrets, FirmwareItem } from "#vmm";
import { encodeBundle } from "#bundle/image";
import { sealImage } from "#bundle/sealed";
import { generateAgeKey } from "#keygen/age-identity";
import { ageSeal } from "#vault/age";
import type { Bundle } from "#bundle";
import { valueBuffer } from "#value-buffer";

const CHANNELS: Record<BootChannel["kind"], BootChannel> = { "fw-cfg": fwCfg, smbios };

/**
 * What the VM is to have from its boot on, opened at this moment; nothing for one that has its secrets another way, of one
 * that enrols a new token, of one that comes by TLS what it shows, by `identities`. `log` is
 * told what is lost. Throws as a boot channel does, and as an image.
 */
export async function composeBoot(
  vault: Vault,
  self: Caller,
  vm: Vm,
  identities: Pick<GuestIdentities, "issue">,
  log: (line: string) => void,
): Promise<BootSecrets> {
  const { id, name, launch } = vm;
  const token = launch?.enrol ? [await tokenOf(vault, self, name, launch.enrol)] : [];
  if (launch?.channel === "tcp") {
    return { firmware: [await shownByTls(identities, vm), ...token], network: true };
  }
  if (launch?.enrol) return { firmware: token };
  if (launch?.secretsDisk) {
    const disk = await diskOf(await vault.resolve(self, id), launch.secretsDisk);
    log(`vm "${name}" has its secrets on a disk, which does not bring: changes`);
    return disk;
  }
  if (!launch?.firmware) return {};
  const { kind, reader, allowReserved } = launch.firmware;
  const guest = { reader, allowReserved, memoryMiB: launch.memoryMiB };
  const { items, lost } = await CHANNELS[kind].compose(await vault.resolve(self, id), guest);
  log(`vm "${name}" has its secrets by ${kind}, which does not bring: ${lost.join(", ")}`);
  return { firmware: items };
}

async function tokenOf(vault: Vault, self: Caller, vm: string, { by, reboots }: EnrolOptions): Promise<FirmwareItem> {
  const line = await vault.mintToken(self, vm, reboots);
  try {
    return firmwareWord(by, "enrol", line);
  } finally {
    line.fill(0);
  }
}

/** A sealed disk has a key of its own, which is of this start alone. */
async function diskOf(bundle: Bundle, format: SecretsDisk): Promise<BootSecrets> {
  if (format !== "sealed") return { secretsDisk: await imageOf(bundle, format) };
  const { identity, recipient } = generateAgeKey();
  try {
    const image = await sealImage(encodeBundle(bundle, "tar"), "tar", (plaintext) => ageSeal(recipient, plaintext));
    return { secretsDisk: image, firmware: [firmwareWord("fw-cfg", "key", identity)] };
  } finally {
    identity.fill(0);
  }
}

async function shownByTls(identities: Pick<GuestIdentities, "issue">, vm: Vm): Promise<FirmwareItem> {
  const identity = await identities.issue(vm);
  try {
    return firmwareWord("fw-cfg", "tls", identity);
  } finally {
    identity.fill(0);
  }
}

/** The whole image in memory; the caller wipes it. */
async function imageOf(bundle: Bundle, format: Exclude<SecretsDisk, "sealed">): Promise<Buffer> {
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
