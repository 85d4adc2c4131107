// Which ways there are into one guest for one bundle, each with what speaks against it: a pure function.
import type { BootGuest, Measure } from "#channel";
import { lossesOf } from "#channel/credentials";
import { fwCfg } from "#channel/fw-cfg";
import { smbios } from "#channel/smbios";
import { WAYS, type Way } from "#channel/ways";
import { HatchwayError } from "#error";
import { encodedSize, encodeManifestFile } from "#protocol/bundle";
import type { Manifest, ManifestEntry } from "#protocol/manifest";
import { MAX_BUNDLE_SIZE, MAX_ENTRIES } from "#protocol/names";
import { WIRED, type Unfit, type Version, type WiredChannel, type Wirer } from "#wiring";

export interface Situation {
  manifest: Manifest;
  wirer: Wirer;
  /** Hatchway starts it, with its own QEMU. */
  isLaunched: boolean;
  /** Whether the daemon serves guests that come over a network. */
  servesNetwork: boolean;
  /** QEMU's, where it is known. */
  qemu: Version | undefined;
  guest: BootGuest;
  /** The guest's version of systemd, where it is said. */
  systemd: number | undefined;
  /** The VM's number on the AF_VSOCK of the host's kernel, where it has one. */
  cid: number | undefined;
}

export interface Explained {
  way: Way;
  /** What speaks against it; absent where it fits. */
  unfit?: Unfit;
  /** The one that is taken where nothing is said. */
  isChosen: boolean;
  measures: Measure[];
  /** What of this bundle it does not bring. */
  lost: readonly string[];
}

/** systemd takes credentials from fw_cfg and SMBIOS from these versions on (NEWS of systemd). */
const SYSTEMD_SINCE: Partial<Record<WiredChannel, number>> = { "fw-cfg": 251, smbios: 252 };
const BOOT = { "fw-cfg": fwCfg, smbios };

/** In the order of `WAYS`. */
export function explain(situation: Situation): Explained[] {
  const all = WAYS.map((way): Explained => {
    const unfit = unfitOf(way, situation);
    const measures = way.built ? measure(way, situation) : [];
    return { way, ...(unfit && { unfit }), isChosen: false, measures, lost: way.built ? lossesBy(way, situation) : [] };
  });
  const chosen = all.find(({ way, unfit }) => !unfit && isWired(way.name));
  return all.map((one) => ({ ...one, isChosen: one === chosen }));
}

function unfitOf({ name, built }: Way, situation: Situation): Unfit | undefined {
  if (!built) return { reason: "not in this version", instead: "use another" };
  if ((name === "ssh" || name === "push") && situation.isLaunched) {
    return { reason: "vm launch gives its guests no network", instead: "use virtio-serial" };
  }
  if (!isWired(name)) return undefined;
  const { wirer, isLaunched, servesNetwork, qemu, guest, manifest, cid } = situation;
  if (name === "af-vsock" && cid === undefined && !isLaunched) {
    return { reason: "the VM has no CID", instead: "make it with one: hatchway vm create NAME --external --cid 7" };
  }
  if (isLaunched && (name === "vsock" || name === "af-vsock")) {
    return { reason: "vm launch gives its guests no such device", instead: "use virtio-serial" };
  }
  if (name === "tcp" && !servesNetwork) {
    return { reason: "the daemon serves no guests over a network", instead: "set guest-listen in config.yaml" };
  }
  if (isLaunched && name === "smb") {
    return {
      reason: "vm launch keeps QEMU from starting programs, and it would start smbd",
      instead: "use 9p or virtiofs",
    };
  }
  return (
    wirer.refusal(name, qemu) ??
    tooOld(name, situation) ??
    tooMuch(name, situation) ??
    tooManyFiles(name, wirer, guest, manifest)
  );
}

function tooOld(name: WiredChannel, { guest, systemd }: Situation): Unfit | undefined {
  const since = SYSTEMD_SINCE[name];
  if (since === undefined || guest.reader !== "systemd" || systemd === undefined || systemd >= since) return undefined;
  return {
    reason: `systemd takes it from version ${since} on, and the guest has ${systemd}`,
    instead: "use the agent",
  };
}

/** What the channel itself refuses. */
function tooMuch(name: WiredChannel, { manifest, guest }: Situation): Unfit | undefined {
  if (name !== "fw-cfg" && name !== "smbios") return undefined;
  try {
    BOOT[name].check(manifest, guest);
    return undefined;
  } catch (error) {
    if (!(error instanceof HatchwayError)) throw error;
    return { reason: error.message, instead: error.hint ?? "use another" };
  }
}

/** fw_cfg has few slots where nobody can tell QEMU to make more. */
export function tooManyFiles(
  name: WiredChannel,
  { vmm, maxFirmwareFiles: limit }: Wirer,
  { reader }: BootGuest,
  { entries }: Manifest,
): Unfit | undefined {
  if (name !== "fw-cfg" || reader !== "systemd" || limit === undefined || entries.length <= limit) return undefined;
  return {
    reason: `${entries.length} secrets, and QEMU as ${vmm} starts it has ${limit} free slots of fw_cfg`,
    instead: "let the agent read all as one, or use a disk",
  };
}

function measure({ name }: Way, { manifest, guest }: Situation): Measure[] {
  if (name === "fw-cfg" || name === "smbios") return BOOT[name].measure(manifest, guest);
  const size = encodedSize(encodeManifestFile(manifest), manifest.entries);
  return [
    { what: "bytes", size, limit: MAX_BUNDLE_SIZE },
    { what: "secrets", size: manifest.entries.length, limit: MAX_ENTRIES },
  ];
}

function lossesBy({ name }: Way, { manifest, guest }: Situation): readonly string[] {
  if (name === "fw-cfg" || name === "smbios") return lossesOf(manifest, guest);
  if (name === "ssh") return [];
  if (name === "push") return lossesOfDisk(manifest).filter((loss) => loss !== "owners");
  if (name === "sealed") return ["changes"];
  return name === "disk" ? lossesOfDisk(manifest) : [];
}

/** Without an agent nothing acts on what the image's manifest says. */
function lossesOfDisk({ entries }: Manifest): string[] {
  const losses: [string, boolean][] = [
    ["owners", entries.some(hasNamedOwner)],
    ["variables", entries.some(({ env }) => env !== undefined)],
    ["links", entries.some(({ file }) => file?.link !== undefined)],
    ["reactions", entries.some(({ onChange }) => onChange !== undefined)],
    ["changes", true],
  ];
  return losses.filter(([, isLost]) => isLost).map(([loss]) => loss);
}

function hasNamedOwner({ file }: ManifestEntry): boolean {
  return typeof file?.user === "string" || typeof file?.group === "string";
}

function isWired(name: Way["name"]): name is WiredChannel {
  return (WIRED as readonly string[]).includes(name);
}
