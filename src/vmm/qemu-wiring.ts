// QEMU that somebody else starts: options to put behind his own, tried by test/vm/arguments.test.ts.
import { dirname, join } from "node:path";
import { checkSocketPath } from "#socket-path";
import {
  formatVersion,
  isAtLeast,
  type Form,
  type Unfit,
  type Version,
  type WiredChannel,
  type Wirer,
  type WiringRequest,
} from "#wiring";
import { fwCfgSlots } from "./firmware.ts";
import { agentPort, escapeOption, nineP } from "./qemu.ts";
import { USER_NETWORK } from "./network.ts";
import {
  besideVirtiofs,
  certificateNotes,
  checkWired,
  cidNotes,
  cidOf,
  DISK_SERIAL,
  fileNotes,
  fileOf,
  GUEST_CID,
  SHARE_TAG,
  shareNotes,
  shellLines,
  shellWord,
  socketNotes,
} from "./wiring.ts";

type Options = readonly (readonly string[])[];

export const qemuWirer: Wirer = {
  vmm: "qemu",
  proof: "tried by a test with QEMU of Debian 12 and a real guest",
  refusal: qemuRefusal,

  wire(request) {
    checkWired(this, request);
    return { forms: [formOf(qemuOptions(request))], notes: qemuNotes(request) };
  },
};

function formOf(options: Options): Form {
  const what = "options of qemu-system-x86_64, behind your own";
  return { name: "arguments", what, text: shellLines(options), words: options.flat() };
}

/**
 * Until "smbios: Fix buffer overrun when using path= option" (in 7.2.18 and 10.0.0) QEMU put no NUL behind what it
 * read, so that the guest's string went on with whatever came next in QEMU's memory.
 */
export function qemuRefusal(channel: WiredChannel, qemu: Version | undefined): Unfit | undefined {
  if (channel !== "smbios" || !qemu || hasPathFix(qemu)) return undefined;
  return {
    reason: `QEMU ${formatVersion(qemu)} reads past the end of a file that -smbios path= names`,
    instead: "use fw-cfg, or QEMU 7.2.18, or 10.0 and newer; --vmm qemu=10.0 says that yours is mended",
  };
}

function hasPathFix(qemu: Version): boolean {
  if (qemu.major === 7 && qemu.minor === 2) return qemu.patch >= 18;
  return qemu.major >= 10;
}

/** The options of a channel that `qemuRefusal` lets pass. Throws HatchwayError "invalid". */
export function qemuOptions(request: WiringRequest): Options {
  switch (request.channel) {
    case "virtio-serial":
      return serialOptions(request);
    case "vsock":
      return vsockOptions(request);
    case "af-vsock":
      return [["-device", `vhost-vsock-pci,guest-cid=${cidOf(request)}`]];
    case "fw-cfg":
      return fwCfgOptions(request);
    case "smbios":
      return [["-smbios", `type=11,path=${escapeOption(fileOf(request))}`]];
    case "disk":
      return diskOptions(fileOf(request));
    case "tcp":
      return tcpOptions(request);
    case "9p":
      return nineP("hatchway-share", fileOf(request));
    case "virtiofs":
      return virtiofsOptions(request);
    case "smb":
      return smbOptions(fileOf(request));
  }
}

function serialOptions({ sockets, qemu }: WiringRequest): Options {
  // Deprecated by 9.2 (docs/about/deprecated.rst), and what all before it know.
  const reconnect = qemu && isAtLeast(qemu, 9, 2) ? "reconnect-ms=1000" : "reconnect=1";
  const path = escapeOption(sockets["virtio-serial"]);
  return [
    ["-device", "virtio-serial-pci,id=hatchway-ports"],
    ["-chardev", `socket,id=hatchway,path=${path},${reconnect}`],
    ["-device", `virtserialport,bus=hatchway-ports.0,chardev=hatchway,name=${agentPort}`],
  ];
}

/** Who is behind a vhost-user socket shares the guest's memory. */
function sharedMemory({ memoryMiB }: WiringRequest): Options {
  return [
    ["-object", `memory-backend-memfd,id=hatchway-memory,size=${memoryMiB}M,share=on`],
    ["-machine", "memory-backend=hatchway-memory"],
  ];
}

function virtiofsOptions(request: WiringRequest): Options {
  fileOf(request);
  return [
    ...sharedMemory(request),
    ["-chardev", `socket,id=hatchway-share,path=${escapeOption(besideSocket(request, "share.sock"))}`],
    ["-device", `vhost-user-fs-pci,chardev=hatchway-share,tag=${SHARE_TAG}`],
  ];
}

/** A network of its own that leads nowhere but to the server (restrict=on), which QEMU starts for each connection. */
function smbOptions(folder: string): Options {
  return [
    ["-netdev", `user,id=hatchway-share,restrict=on,smb=${escapeOption(folder)}`],
    ["-device", "virtio-net-pci,netdev=hatchway-share"],
  ];
}

function vsockOptions(request: WiringRequest): Options {
  return [
    ...sharedMemory(request),
    ["-chardev", `socket,id=hatchway-vsock,path=${escapeOption(besideSocket(request, "vhost.sock"))}`],
    ["-device", "vhost-user-vsock-pci,chardev=hatchway-vsock"],
  ];
}

/** In the VM's folder, where its runner may make files and nobody else look. */
export function besideSocket({ sockets }: WiringRequest, name: string): string {
  const path = join(dirname(sockets.vsock), name);
  checkSocketPath(path, "use a shorter vm name or a shorter XDG_RUNTIME_DIR");
  return path;
}

function fwCfgOptions(request: WiringRequest): Options {
  fileOf(request);
  const { firmware } = request;
  const slots = ["-global", `fw_cfg.x-file-slots=${fwCfgSlots(firmware.length)}`];
  return [
    slots,
    ...firmware.map(({ name, file }) => ["-fw_cfg", `name=${escapeOption(name)},file=${escapeOption(file)}`]),
  ];
}

function tcpOptions(request: WiringRequest): Options {
  return [
    ["-netdev", "user,id=hatchway-network"],
    ["-device", "virtio-net-pci,netdev=hatchway-network"],
    ...fwCfgOptions(request),
  ];
}

function diskOptions(file: string): Options {
  const source = `driver=file,node-name=hatchway-file,read-only=on,filename=${escapeOption(file)}`;
  return [
    ["-blockdev", source],
    ["-blockdev", "driver=raw,node-name=hatchway-disk,read-only=on,file=hatchway-file"],
    ["-device", `virtio-blk-pci,drive=hatchway-disk,serial=${DISK_SERIAL}`],
  ];
}

export function qemuNotes(request: WiringRequest): string[] {
  const { channel, sockets, memoryMiB, file = "" } = request;
  switch (channel) {
    case "virtio-serial":
      return socketNotes(sockets["virtio-serial"]);
    case "vsock":
      return [
        `run this beside it, as the same user: ${besideVsock(request)}`,
        `size=${memoryMiB}M has to be the guest's whole memory, as -m says it (--memory changes it here)`,
        ...socketNotes(sockets.vsock),
      ];
    case "af-vsock":
      return cidNotes();
    case "smbios":
      return [
        `the file is one string, which a shell makes of the bundle's tar: { printf %s ${shellWord(request.oemPrefix)}; base64 --wrap=0 BUNDLE.tar; } >${shellWord(file)}`,
        ...fileNotes(file),
      ];
    case "tcp":
      return certificateNotes(
        file,
        `leave out -netdev and virtio-net-pci where the guest has a network; by this one the host is ${USER_NETWORK.host} to it`,
      );
    case "fw-cfg":
    case "disk":
      return fileNotes(file);
    case "9p":
      return shareNotes(channel);
    case "virtiofs": {
      const socket = besideSocket(request, "share.sock");
      return [
        `run this before it, as root: ${besideVirtiofs(file, socket)}`,
        `and let the VM's runner connect to "${socket}"`,
        `size=${memoryMiB}M has to be the guest's whole memory, as -m says it (--memory changes it here)`,
        ...shareNotes(channel),
      ];
    }
    case "smb":
      return [
        "QEMU starts /usr/sbin/smbd, of the package samba, as its own user, for which -sandbox must not deny it to",
        "whoever QEMU's user is can write to that share as far as he can write to the folder: let him only read it",
        "in the guest: ip link set DEVICE up; ip address add 10.0.2.15/24 dev DEVICE",
        "mount -t cifs -o ro,nosuid,nodev,noexec,vers=3.0,guest,sec=none,actimeo=1 //10.0.2.4/qemu /run/share",
        "then hatchway-agent run --from dir:/run/share; hatchway share --watch keeps the folder up to date",
      ];
  }
}

/** The device behind a vhost-user socket: https://github.com/rust-vmm/vhost-device, tried with 0.3.0. */
function besideVsock(request: WiringRequest): string {
  const { sockets } = request;
  const words = [
    "--guest-cid",
    String(GUEST_CID),
    "--socket",
    besideSocket(request, "vhost.sock"),
    "--uds-path",
    sockets.vsock,
  ];
  return ["vhost-device-vsock", ...words].map(shellWord).join(" ");
}
