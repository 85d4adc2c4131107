// Cloud Hypervisor: its options, and the same as members of its API's VmConfig, by
// vmm/src/api/openapi/cloud-hypervisor.yaml of commit 00f68228812d.
import { HatchwayError } from "#error";
import type { Form, Wirer, WiringRequest } from "#wiring";
import { besideSocket } from "./qemu-wiring.ts";
import {
  besideVirtiofs,
  checkWired,
  DISK_SERIAL,
  fileNotes,
  fileOf,
  GUEST_CID,
  NOT_RUN,
  onlyBy,
  SHARE_TAG,
  shareNotes,
  shellLines,
  socketNotes,
} from "./wiring.ts";

export const cloudHypervisor: Wirer = {
  vmm: "cloud-hypervisor",
  proof: NOT_RUN,
  refusal: onlyBy("cloud-hypervisor", ["vsock", "disk", "virtiofs"], {
    smb: "it has no server of its own",
    "9p": "Cloud Hypervisor shares folders by virtiofs alone",
    "virtio-serial": "Cloud Hypervisor has no virtio-serial ports",
    "fw-cfg": "its fw_cfg is an option of its build, which is not relied on",
    tcp: "Cloud Hypervisor brings no file of a firmware: put what hatchway pki guest writes into the guest yourself, and give it a network",
    smbios: "its --platform oem_strings= takes values and no files, so they would be in its arguments for all to see",
  }),

  wire(request) {
    checkWired(this, request);
    if (request.channel === "virtiofs") return wireVirtiofs(request);
    return request.channel === "disk" ? wireDisk(fileOf(request)) : wireVsock(request);
  },
};

function wireVsock({ sockets }: WiringRequest): { forms: Form[]; notes: string[] } {
  const path = sockets.vsock;
  const vsock = { cid: GUEST_CID, socket: path };
  return {
    forms: [
      argumentsForm(["--vsock", `cid=${GUEST_CID},socket=${plainValue(path)}`]),
      { name: "api", what: "the body of PUT /api/v1/vm.add-vsock", text: JSON.stringify(vsock, null, 2) },
      { name: "config", what: "a member of PUT /api/v1/vm.create", text: JSON.stringify({ vsock }, null, 2) },
    ],
    notes: [
      "Cloud Hypervisor makes that socket and does not start where it is already: remove it before each start",
      ...socketNotes(path),
    ],
  };
}

function wireDisk(file: string): { forms: Form[]; notes: string[] } {
  const disk = { path: file, readonly: true, serial: DISK_SERIAL };
  const words = `path=${plainValue(file)},readonly=on,serial=${DISK_SERIAL}`;
  return {
    forms: [
      argumentsForm(["--disk", words]),
      { name: "api", what: "the body of PUT /api/v1/vm.add-disk", text: JSON.stringify(disk, null, 2) },
      { name: "config", what: "a member of PUT /api/v1/vm.create", text: JSON.stringify({ disks: [disk] }, null, 2) },
    ],
    notes: ["--disk takes all disks: put this behind those that you have", ...fileNotes(file)],
  };
}

function wireVirtiofs(request: WiringRequest): { forms: Form[]; notes: string[] } {
  const socket = besideSocket(request, "share.sock");
  const fs = { tag: SHARE_TAG, socket, num_queues: 1, queue_size: 1024 };
  return {
    forms: [
      argumentsForm(["--fs", `tag=${SHARE_TAG},socket=${plainValue(socket)},num_queues=1,queue_size=1024`]),
      { name: "api", what: "the body of PUT /api/v1/vm.add-fs", text: JSON.stringify(fs, null, 2) },
      { name: "config", what: "a member of PUT /api/v1/vm.create", text: JSON.stringify({ fs: [fs] }, null, 2) },
    ],
    notes: [
      `run this before it, as root: ${besideVirtiofs(fileOf(request), socket)}`,
      `and let the VM's runner connect to "${socket}"`,
      "the guest's memory has to be shared with that process: --memory size=…,shared=on",
      ...shareNotes("virtiofs"),
    ],
  };
}

function argumentsForm(words: readonly string[]): Form {
  return { name: "arguments", what: "options of cloud-hypervisor, behind your own", text: shellLines([words]) };
}

/** A value of its option parser, which splits at commas and reads quotes and brackets. */
function plainValue(value: string): string {
  if (!/[,"[\]]/.test(value)) return value;
  throw new HatchwayError("invalid", `path "${value}" has a comma, a quote or a bracket, which an option cannot hold`);
}
