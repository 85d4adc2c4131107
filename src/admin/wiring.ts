// What a VMM of one's own is told of a VM, and which ways there are into it. No value is opened for either.
import { FW_CFG_WORD } from "#api-vm";
import { ok, type Answer, type Ask } from "#admin/route";
import type { WiringSaid } from "#admin/queries";
import type { ArgumentsBody, ChannelsBody } from "#api-vm";
import type { Caller } from "#caller";
import type { BootGuest } from "#channel";
import { BUNDLE_CREDENTIAL } from "#channel/credentials";
import { explain, tooManyFiles, type Explained } from "#channel/explain";
import { fwCfg, FW_CFG_PREFIX } from "#channel/fw-cfg";
import { BUNDLE_STRING, smbios } from "#channel/smbios";
import { HatchwayError } from "#error";
import type { Machines, VmView } from "#machines";
import { entryPath, type Manifest } from "#protocol/manifest";
import { DEFAULT_MOUNT_ROOT } from "#protocol/names";
import { manifestEntry } from "#vault/delivery";
import type { Vault } from "#vault";
import { DEFAULT_MACHINE } from "#vm";
import { qemuVersion } from "#vmm/version";
import { WIRERS } from "#vmm/wirers";
import { formatVersion, isLive, WIRED, type Version, type WiredChannel, type Wirer, type WiringRequest } from "#wiring";

export interface WiringParts {
  vault: Vault;
  machines: Machines;
}

export async function vmArguments(
  parts: WiringParts,
  { caller, name, query }: Ask<WiringSaid, unknown>,
): Promise<Answer> {
  return ok(await argumentsOf(parts, caller, name("name"), query));
}

export async function vmChannels(
  parts: WiringParts,
  { caller, name, query }: Ask<WiringSaid, unknown>,
): Promise<Answer> {
  return ok(await channelsOf(parts, caller, name("name"), query));
}

/** Throws HatchwayError "invalid" for what the VMM or the channel refuses. */
export async function argumentsOf(
  { vault, machines }: WiringParts,
  caller: Caller,
  name: string,
  query: WiringSaid,
): Promise<ArgumentsBody> {
  const view = await machines.view(caller, name);
  if (view.vm.launch) {
    throw new HatchwayError(
      "invalid",
      `vm "${name}" is Hatchway's own to start, and no other VMM may reach its sockets`,
      {
        hint: "for a VM that something else starts: hatchway vm create NAME --external",
      },
    );
  }
  const wirer = WIRERS[query.vmm ?? "qemu"];
  const qemu = await versionOf(view, wirer, query);
  const channel = query.channel ?? defaultChannel(wirer, qemu);
  const guest = guestOf(view, query);
  const request: WiringRequest = {
    channel,
    sockets: socketsOf(view),
    cid: view.vm.cid,
    file: query.file,
    firmware: await firmwareFiles(channel, wirer, guest, query.file, () => manifestOf(vault, caller, view)),
    oemPrefix: BUNDLE_STRING,
    memoryMiB: guest.memoryMiB,
    qemu,
  };
  const { forms, notes } = wirer.wire(request);
  return {
    vmm: wirer.vmm,
    ...(qemu && { qemu: formatVersion(qemu) }),
    channel,
    ...(channel === "smbios" && { oem_prefix: BUNDLE_STRING }),
    forms,
    notes: [...notes, wirer.proof],
  };
}

/** The first that it takes and that is live: what needs a file is not taken for a default. */
function defaultChannel(wirer: Wirer, qemu: Version | undefined): WiredChannel {
  return WIRED.find((channel) => isLive(channel) && !wirer.refusal(channel, qemu)) ?? "disk";
}

/** Refuses what the bundle has too much of for a channel of the firmware. */
async function firmwareFiles(
  channel: WiredChannel,
  wirer: Wirer,
  guest: BootGuest,
  file: string | undefined,
  read: () => Promise<Manifest>,
): Promise<{ name: string; file: string }[]> {
  if (file === undefined) return [];
  if (channel === "tcp") return [{ name: `${FW_CFG_WORD}tls`, file }];
  if (channel !== "fw-cfg" && channel !== "smbios") return [];
  if (channel === "smbios" && guest.reader === "systemd") {
    throw new HatchwayError("invalid", "a file for smbios brings the bundle as a whole, for the agent", {
      hint: "for systemd: --channel fw-cfg, or vm launch --firmware smbios --credentials",
    });
  }
  const manifest = await read();
  (channel === "fw-cfg" ? fwCfg : smbios).check(manifest, guest);
  const unfit = tooManyFiles(channel, wirer, guest, manifest);
  if (unfit) throw new HatchwayError("too-large", unfit.reason, { hint: unfit.instead });
  if (guest.reader === "agent") return [{ name: FW_CFG_PREFIX + BUNDLE_CREDENTIAL, file }];
  return manifest.entries.map((entry) => ({ name: FW_CFG_PREFIX + entry.name, file: `${file}/${entryPath(entry)}` }));
}

export async function channelsOf(
  { vault, machines }: WiringParts,
  caller: Caller,
  name: string,
  query: WiringSaid,
): Promise<ChannelsBody> {
  const view = await machines.view(caller, name);
  const wirer = WIRERS[query.vmm ?? "qemu"];
  const isLaunched = view.vm.launch !== undefined;
  if (isLaunched && wirer.vmm !== "qemu") {
    throw new HatchwayError("invalid", `vm "${name}" is started by Hatchway with QEMU, not with ${wirer.vmm}`);
  }
  const qemu = await versionOf(view, wirer, query);
  const manifest = await manifestOf(vault, caller, view);
  const guest = guestOf(view, query);
  const { servesNetwork } = machines;
  const { systemd } = query;
  const all = explain({ manifest, wirer, isLaunched, servesNetwork, qemu, guest, systemd, cid: view.vm.cid });
  return {
    vm: name,
    vmm: wirer.vmm,
    ...(qemu && { qemu: formatVersion(qemu) }),
    guest: query.guest ?? "other",
    ...(query.systemd !== undefined && { systemd: query.systemd }),
    secrets: manifest.entries.length,
    bytes: manifest.entries.reduce((sum, { size }) => sum + size, 0),
    channels: all.map(channelBody),
  };
}

function channelBody({ way, unfit, isChosen, measures, lost }: Explained): ChannelsBody["channels"][number] {
  return {
    name: way.name,
    built: way.built,
    fits: !unfit,
    chosen: isChosen,
    ...(unfit && { reason: unfit.reason, instead: unfit.instead }),
    how: way.how,
    measures,
    lost: [...lost],
    ...(way.built && {
      needs: way.needs,
      guest_readers: way.guestReaders,
      host_readers: way.hostReaders,
      fresh: way.fresh,
    }),
  };
}

/** As it was said, else of the one that is installed here; of no use to VMMs that are not QEMU. */
async function versionOf({ vm }: VmView, { vmm }: Wirer, { qemu }: WiringSaid): Promise<Version | undefined> {
  if (vmm !== "qemu" && vmm !== "vmspawn" && vmm !== "microvm.nix") return undefined;
  return qemu ?? (vmm === "microvm.nix" ? undefined : qemuVersion(vm.runner));
}

function guestOf({ vm }: VmView, query: WiringSaid): BootGuest {
  return {
    reader: query.guest === "systemd" ? "systemd" : "agent",
    memoryMiB: query.memory_mib ?? vm.launch?.memoryMiB ?? DEFAULT_MACHINE.memoryMiB,
    allowReserved: query.allow_reserved === true,
  };
}

function socketsOf({ vm, channels }: VmView): WiringRequest["sockets"] {
  const path = (kind: "vsock" | "virtio-serial"): string => {
    const found = channels.find((one) => one.kind === kind);
    if (found) return found.path;
    throw new HatchwayError("unavailable", `the sockets of vm "${vm.name}" could not be bound`, {
      hint: "see why with: hatchway logs",
    });
  };
  return { vsock: path("vsock"), "virtio-serial": path("virtio-serial") };
}

/** What the VM is to have, without a new revision of it: one of the same length stands in. */
async function manifestOf(vault: Vault, caller: Caller, { vm, convergence }: VmView): Promise<Manifest> {
  const given = await vault.grants(caller, vm.name);
  const revision = ["0".repeat(16), convergence.generation || 1, convergence.wanted || 1].join(".");
  const entries = given.map(({ grant, secret }) => manifestEntry(secret, grant));
  return { format: 1, vm: vm.name, revision, mountRoot: DEFAULT_MOUNT_ROOT, entries };
}
