// libvirt: elements of a domain's XML (https://libvirt.org/formatdomain.html), which `virsh define --validate` takes.
import type { Form, Wirer, WiringRequest } from "#wiring";
import { FREE_SLOTS } from "./firmware.ts";
import { agentPort } from "./qemu.ts";
import {
  certificateNotes,
  checkWired,
  cidNotes,
  cidOf,
  DISK_SERIAL,
  fileNotes,
  fileOf,
  onlyBy,
  SHARE_TAG,
  shareNotes,
  socketNotes,
} from "./wiring.ts";

export const libvirt: Wirer = {
  vmm: "libvirt",
  proof: "checked by a test with virsh define --validate of Debian 12, which also starts a domain with virtio-serial",
  maxFirmwareFiles: FREE_SLOTS,
  refusal: onlyBy("libvirt", ["virtio-serial", "fw-cfg", "disk", "9p", "virtiofs", "tcp", "af-vsock"], {
    smb: "its <interface type='user'> has no such server",
    vsock: "its <vsock> is the host kernel's, which is af-vsock",
    smbios: "it writes <oemStrings> into QEMU's arguments, where everybody on the host can read them",
  }),

  wire(request) {
    checkWired(this, request);
    if (request.channel === "fw-cfg" || request.channel === "tcp") return wireFwCfg(request);
    if (request.channel === "af-vsock") return wireVsock(cidOf(request));
    if (request.channel === "9p" || request.channel === "virtiofs") return wireShare(request.channel, fileOf(request));
    return request.channel === "disk" ? wireDisk(fileOf(request)) : wireSerial(request.sockets["virtio-serial"]);
  },
};

const NETWORK = "the guest needs a network that leads to the host, such as <interface type='network'> of <devices>";

/** The port of virtio-serial whose host end libvirt's QEMU connects to `path`. */
export function serialElement(path: string): string {
  return [
    "<channel type='unix'>",
    `  <source mode='connect' path=${attribute(path)}>`,
    "    <reconnect enabled='yes' timeout='1'/>",
    "  </source>",
    `  <target type='virtio' name='${agentPort}'/>`,
    "</channel>",
  ].join("\n");
}

function wireVsock(cid: number): { forms: Form[]; notes: string[] } {
  const text = ["<vsock model='virtio'>", `  <cid auto='no' address='${cid}'/>`, "</vsock>"].join("\n");
  return { forms: [{ name: "xml", what: "an element of <devices>", text }], notes: cidNotes() };
}

function wireSerial(path: string): { forms: Form[]; notes: string[] } {
  return {
    forms: [{ name: "xml", what: "an element of <devices>", text: serialElement(path) }],
    notes: [
      ...socketNotes(path),
      "the system's libvirt runs QEMU as libvirt-qemu: make the VM with --runner libvirt-qemu",
      "VMs of one user are not kept apart from each other on the host by more than libvirt's own confinement",
    ],
  };
}

function wireFwCfg({ firmware, ...request }: WiringRequest): { forms: Form[]; notes: string[] } {
  const file = fileOf({ firmware, ...request });
  const entries = firmware.map((one) => `  <entry name=${attribute(one.name)} file=${attribute(one.file)}/>`);
  const text = ["<sysinfo type='fwcfg'>", ...entries, "</sysinfo>"].join("\n");
  return {
    forms: [{ name: "xml", what: "an element of <domain>", text }],
    notes: [
      "file=, never a value in the element: libvirt would write that into QEMU's arguments",
      ...(request.channel === "tcp" ? certificateNotes(file, NETWORK) : fileNotes(file)),
    ],
  };
}

function wireDisk(file: string): { forms: Form[]; notes: string[] } {
  const text = [
    "<disk type='file' device='disk'>",
    "  <driver name='qemu' type='raw'/>",
    `  <source file=${attribute(file)}/>`,
    "  <target dev='vdz' bus='virtio'/>",
    "  <readonly/>",
    `  <serial>${DISK_SERIAL}</serial>`,
    "</disk>",
  ];
  return {
    forms: [{ name: "xml", what: "an element of <devices>", text: text.join("\n") }],
    notes: ["vdz orders the disks and is not what the guest calls it", ...fileNotes(file)],
  };
}

function wireShare(channel: "9p" | "virtiofs", folder: string): { forms: Form[]; notes: string[] } {
  const isVirtiofs = channel === "virtiofs";
  const text = [
    `<filesystem type='mount' accessmode='${isVirtiofs ? "passthrough" : "squash"}'>`,
    `  <driver type='${isVirtiofs ? "virtiofs" : "path"}'/>`,
    `  <source dir=${attribute(folder)}/>`,
    `  <target dir='${SHARE_TAG}'/>`,
    // libvirt refuses it for virtiofs, which it makes read-only from 11.0 on.
    ...(isVirtiofs ? [] : ["  <readonly/>"]),
    "</filesystem>",
  ];
  const own = isVirtiofs
    ? [
        "the domain needs: <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>",
        "libvirt starts virtiofsd as root and lets the guest write there: only into its own share, which is written anew",
      ]
    : ["share it sealed: libvirt has no mapped-file, which a plain share by 9p has its modes and owners in"];
  return {
    forms: [{ name: "xml", what: "an element of <devices>", text: text.join("\n") }],
    notes: [...own, ...shareNotes(channel)],
  };
}

/** XML 1.0, 2.3. */
function attribute(value: string): string {
  return `'${value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll("'", "&apos;")}'`;
}
