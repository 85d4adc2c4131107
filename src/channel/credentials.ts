// What SMBIOS and fw_cfg have in common: they carry credentials of systemd, by name, and nothing else about them.
import type { BootGuest, Loss } from "#channel";
import { BundleTar } from "#bundle/tar";
import type { Bundle } from "#bundle";
import { refuseReservedCredential } from "#credential";
import { HatchwayError } from "#error";
import { encodedSize, encodeManifestFile } from "#protocol/bundle";
import type { Manifest } from "#protocol/manifest";
import { valueBuffer } from "#value-buffer";

/** The credential that holds a whole bundle, as its tar. */
export const BUNDLE_CREDENTIAL = "hatchway.bundle";
/** systemd imports at most so many bytes of credentials in all (CREDENTIALS_TOTAL_SIZE_MAX, systemd.exec(5): 1 MiB). */
export const MAX_CREDENTIALS = 1_048_576;

/** A credential before it is opened; bytes of its content. */
export interface Credential {
  name: string;
  size: number;
}

/** The credentials that a guest is to be given. Throws HatchwayError "invalid" or "too-large". */
export function credentialsOf(manifest: Manifest, guest: BootGuest): Credential[] {
  const { reader, allowReserved } = guest;
  const all = listCredentials(manifest, guest);
  if (reader === "systemd" && !allowReserved) for (const { name } of all) refuseReservedCredential(name);
  const total = all.reduce((sum, { size }) => sum + size, 0);
  if (total <= MAX_CREDENTIALS) return all;
  throw new HatchwayError("too-large", `${total} bytes of credentials, and at most ${MAX_CREDENTIALS} can be given`, {
    hint: "use a disk, or a live channel: see docs/images.md",
  });
}

/** The same, whether or not a guest can be given them. */
export function listCredentials(manifest: Manifest, { reader }: BootGuest): Credential[] {
  if (reader === "systemd") return manifest.entries.map(({ name, size }) => ({ name, size }));
  return [{ name: BUNDLE_CREDENTIAL, size: encodedSize(encodeManifestFile(manifest), manifest.entries) }];
}

/** Opens all credentials, in the order of `credentialsOf`; wipes what it has if one fails. The caller wipes the rest. */
export async function openCredentials(bundle: Bundle, { reader }: BootGuest): Promise<Buffer[]> {
  const { entries } = bundle.manifest;
  const opened: Buffer[] = [];
  try {
    if (reader === "agent") {
      const tar = new BundleTar(bundle, entries);
      const whole = valueBuffer(tar.size);
      opened.push(whole);
      let at = 0;
      await tar.writeTo(async (bytes) => {
        whole.set(bytes, at);
        at += bytes.length;
      });
      return opened;
    }
    const open = await bundle.disclose(entries);
    for (const entry of entries) opened.push(await open(entry));
    return opened;
  } catch (error) {
    for (const content of opened) content.fill(0);
    throw error;
  }
}

/** What of this manifest a guest does not get in this way. A bundle as a whole brings all but what comes after. */
export function lossesOf({ entries }: Manifest, { reader }: BootGuest): Loss[] {
  if (reader === "agent") return ["changes"];
  const losses: [Loss, boolean][] = [
    ["owners", entries.some(({ file }) => file !== undefined && !(isRoot(file.user) && isRoot(file.group)))],
    ["modes", entries.some(({ file }) => file !== undefined && file.mode !== "0400")],
    ["paths", entries.some(({ name, file }) => file !== undefined && file.path !== name)],
    ["variables", entries.some(({ env }) => env !== undefined)],
    ["links", entries.some(({ file }) => file?.link !== undefined)],
    ["reactions", entries.some(({ onChange }) => onChange !== undefined)],
    ["changes", true],
  ];
  return losses.filter(([, isLost]) => isLost).map(([loss]) => loss);
}

function isRoot(who: number | string): boolean {
  return who === 0 || who === "root";
}
