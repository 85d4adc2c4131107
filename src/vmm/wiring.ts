// What the wirers have in common: their refusals, their paths, and the words of a shell.
import { HatchwayError } from "#error";
import type { Unfit, VmmName, WiredChannel, Wirer, WiringRequest } from "#wiring";
import { USER_NETWORK } from "./network.ts";

/**
 * How a guest calls itself on a hybrid vsock. Each has the host to itself, by a socket of its own, so all may have the
 * same; 0 to 2 are taken (vsock(7)).
 */
export const GUEST_CID = 3;
/** How a disk is found that has no label, or whose label somebody else may have taken. */
export const DISK_SERIAL = "HATCHWAY";
/** What a guest mounts a share by. */
export const SHARE_TAG = "hatchway";

/** How a VM comes by a CID. */
const NEEDS_CID = "make it with one: hatchway vm create NAME --external --cid 7, or vm adopt NAME --cid 7";

export const NOT_RUN = "the form is checked against the published field list, not run against the binary";

/** Throws HatchwayError "invalid" for what `wirer` refuses. */
export function checkWired(wirer: Wirer, { channel, qemu }: WiringRequest): void {
  const unfit = wirer.refusal(channel, qemu);
  if (!unfit) return;
  throw new HatchwayError("invalid", `${wirer.vmm} cannot bring ${channel}: ${unfit.reason}`, { hint: unfit.instead });
}

/** The file of a channel that needs one. Throws HatchwayError "invalid". */
export function fileOf({ channel, file }: WiringRequest): string {
  if (file !== undefined) return file;
  if (channel === "9p" || channel === "virtiofs" || channel === "smb") {
    throw new HatchwayError("invalid", `${channel} needs the folder that it is to share`, {
      hint: `keep one with: hatchway share NAME --out FOLDER --key FILE --watch, and name it by --file`,
    });
  }
  throw new HatchwayError("invalid", `${channel} needs the file that it is to bring`, {
    hint: `make one with: ${makingOf(channel)}, and name it by --file`,
  });
}

/** The CID of the VM. Throws HatchwayError "invalid". */
export function cidOf({ cid }: WiringRequest): number {
  if (cid !== undefined) return cid;
  throw new HatchwayError("invalid", "af-vsock needs a VM that has a CID", { hint: NEEDS_CID });
}

/** Notes that hold for whoever brings the kernel's vsock. */
export function cidNotes(): string[] {
  return [
    "the host has to see the process that has the VM: hatchway vm exec, or vm adopt by --qmp, --libvirt or --pid",
    "the VMM opens /dev/vhost-vsock: give its user access, by the group kvm for one",
  ];
}

function makingOf(channel: WiredChannel): string {
  if (channel === "tcp") return `hatchway pki guest NAME --host ${USER_NETWORK.host}:5107`;
  return `hatchway image build NAME --format ${channel === "disk" ? "erofs" : "tar"} --out FILE`;
}

/** A refusal for all channels of a VMM but some. */
export function onlyBy(
  vmm: VmmName,
  channels: readonly WiredChannel[],
  why: Partial<Record<WiredChannel, string>>,
): (channel: WiredChannel) => Unfit | undefined {
  return (channel: WiredChannel): Unfit | undefined => {
    if (channels.includes(channel)) return undefined;
    const reason = why[channel] ?? `${vmm} has no such device`;
    return { reason, instead: `use ${channels.join(" or ")}` };
  };
}

/** A word of a POSIX shell. */
export function shellWord(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Options, one a line, to be put behind a command of a shell. */
export function shellLines(options: readonly (readonly string[])[]): string {
  return options.map((words) => words.map(shellWord).join(" ")).join(" \\\n");
}

/** Notes that hold for whoever brings a channel by a socket. */
export function socketNotes(path: string): string[] {
  return [`the VMM has to run as the VM's runner: nobody else can connect to "${path}"`];
}

/** Notes that hold for whoever brings a file. */
export function fileNotes(file: string): string[] {
  return [
    `"${file}" has to be there when the VMM starts, readable for it alone, and on a tmpfs; it can go once the guest runs`,
    "a change of a secret reaches the guest at its next start",
  ];
}

/** Notes that hold for whoever brings a guest's certificate. */
export function certificateNotes(file: string, network: string): string[] {
  return [
    `"${file}" is what hatchway pki guest has written; whoever reads it is that VM, so let the VMM alone read it, when it starts`,
    network,
    "the daemon has to serve guests where the file's first line says: guest-listen in config.yaml",
  ];
}
/** Notes that hold for whoever shares a folder. */
export function shareNotes(channel: "9p" | "virtiofs"): string[] {
  const options = channel === "9p" ? "ro,nosuid,nodev,noexec,trans=virtio,version=9p2000.L" : "ro,nosuid,nodev,noexec";
  return [
    `in the guest: mount -t ${channel} -o ${options} ${SHARE_TAG} /run/share, then hatchway-agent run --from dir:/run/share`,
    "hatchway share --watch keeps the folder up to date",
  ];
}

/** What serves a folder to one VMM by virtiofs: QEMU's virtiofsd, of Debian 12. It is for root to start. */
export function besideVirtiofs(folder: string, socket: string): string {
  const command = ["/usr/lib/qemu/virtiofsd", `--socket-path=${socket}`, "-o", `source=${folder}`, "-o", "cache=none"];
  return command.map(shellWord).join(" ");
}
