// microvm.nix: options of a guest's NixOS configuration, by nixos-modules/microvm/options.nix of commit 967e2a697326. Its hypervisor
// decides which channels there are: QEMU for all but vsock, which is Cloud Hypervisor's and Firecracker's.
import type { Form, Wirer, WiringRequest } from "#wiring";
import { FREE_SLOTS } from "./firmware.ts";
import { qemuOptions } from "./qemu-wiring.ts";
import {
  certificateNotes,
  checkWired,
  DISK_SERIAL,
  fileNotes,
  fileOf,
  GUEST_CID,
  NOT_RUN,
  onlyBy,
  SHARE_TAG,
  socketNotes,
} from "./wiring.ts";

const NETWORK = "leave out -netdev and virtio-net-pci where the guest has a network that leads to the host";
/** fw_cfg's names have it before what `microvm.credentialFiles` calls a credential. */
const CREDENTIAL = /^.*\//;

export const microvmNix: Wirer = {
  vmm: "microvm.nix",
  proof: NOT_RUN,
  maxFirmwareFiles: FREE_SLOTS,
  refusal: onlyBy("microvm.nix", ["virtio-serial", "vsock", "fw-cfg", "disk", "9p", "virtiofs", "tcp"], {
    smb: "its shares are by 9p and virtiofs",
    smbios: "microvm.cloud-hypervisor.platformOEMStrings takes values, which land in the world-readable Nix store",
  }),

  wire(request) {
    checkWired(this, request);
    if (request.channel === "virtio-serial") return wireSerial(request);
    if (request.channel === "vsock") return wireVsock(request.sockets.vsock);
    if (request.channel === "tcp") return wireTcp(request);
    if (request.channel === "9p" || request.channel === "virtiofs") return wireShare(request.channel, fileOf(request));
    return request.channel === "fw-cfg" ? wireFwCfg(request) : wireDisk(fileOf(request));
  },
};

function wireSerial(request: WiringRequest): { forms: Form[]; notes: string[] } {
  return {
    forms: [qemuForm(request)],
    notes: ["q35, since its microvm machine may have no PCI bus", ...socketNotes(request.sockets["virtio-serial"])],
  };
}

/** Not by `credentialFiles`: what the guest shows is the agent's alone, and no credential of systemd. */
function wireTcp(request: WiringRequest): { forms: Form[]; notes: string[] } {
  return { forms: [qemuForm(request)], notes: certificateNotes(fileOf(request), NETWORK) };
}

function qemuForm(request: WiringRequest): Form {
  const words = qemuOptions(request).map((option) => `    ${option.map(nixString).join(" ")}`);
  const text = [
    "microvm = {",
    '  hypervisor = "qemu";',
    '  qemu.machine = "q35";',
    "  qemu.extraArgs = [",
    ...words,
    "  ];",
    "};",
  ];
  return nixForm("with QEMU", text);
}

function wireVsock(path: string): { forms: Form[]; notes: string[] } {
  const cloudHypervisor = [
    "microvm = {",
    '  hypervisor = "cloud-hypervisor";',
    `  cloud-hypervisor.extraArgs = [ "--vsock" ${nixString(`cid=${GUEST_CID},socket=${path}`)} ];`,
    "};",
  ];
  const firecracker = [
    "microvm = {",
    '  hypervisor = "firecracker";',
    `  firecracker.extraConfig.vsock = { guest_cid = ${GUEST_CID}; uds_path = ${nixString(path)}; };`,
    "};",
  ];
  return {
    forms: [nixForm("with Cloud Hypervisor", cloudHypervisor), nixForm("with Firecracker", firecracker)],
    notes: [
      "leave microvm.vsock.cid null: it would make a second vsock, with a socket of microvm.nix's own",
      "the socket is made at each start: remove it before, in microvm.preStart for instance",
      ...socketNotes(path),
    ],
  };
}

function wireFwCfg({ firmware, ...request }: WiringRequest): { forms: Form[]; notes: string[] } {
  const file = fileOf({ firmware, ...request });
  const lines = firmware.map((one) => `    ${nixString(one.name.replace(CREDENTIAL, ""))} = ${nixString(one.file)};`);
  return {
    forms: [
      nixForm("with QEMU", ["microvm = {", '  hypervisor = "qemu";', "  credentialFiles = {", ...lines, "  };", "};"]),
    ],
    notes: ["in quotes: a path without them would be copied into the world-readable Nix store", ...fileNotes(file)],
  };
}

function wireDisk(file: string): { forms: Form[]; notes: string[] } {
  const text = [
    "microvm.volumes = [",
    "  {",
    `    image = ${nixString(file)};`,
    `    serial = "${DISK_SERIAL}";`,
    "    readOnly = true;",
    "    autoCreate = false;",
    "    mountPoint = null;",
    "  }",
    "];",
  ];
  return { forms: [nixForm("with any hypervisor", text)], notes: fileNotes(file) };
}

function wireShare(proto: "9p" | "virtiofs", folder: string): { forms: Form[]; notes: string[] } {
  const text = [
    "microvm.shares = [",
    "  {",
    `    proto = "${proto}";`,
    `    tag = "${SHARE_TAG}";`,
    `    source = ${nixString(folder)};`,
    ...(proto === "9p" ? ['    securityModel = "mapped-file";'] : []),
    '    mountPoint = "/run/share";',
    "  }",
    "];",
  ];
  const what = proto === "9p" ? "with QEMU or crosvm" : "with QEMU, Cloud Hypervisor or crosvm";
  return {
    forms: [nixForm(what, text)],
    notes: [
      "in quotes: a path without them would be copied into the world-readable Nix store",
      "the guest mounts it by itself at /run/share: hatchway-agent run --from dir:/run/share",
      "hatchway share --watch keeps the folder up to date",
    ],
  };
}

function nixForm(what: string, lines: readonly string[]): Form {
  return { name: "nix", what: `of the guest's NixOS configuration, ${what}`, text: lines.join("\n") };
}

/** A string of the Nix language, in which `${` would begin an expression. */
function nixString(text: string): string {
  return `"${text.replaceAll(/[\\"]/g, "\\$&").replaceAll("${", "\\${")}"`;
}
