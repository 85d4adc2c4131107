// Cloud Hypervisor: its options, and the same as members of its API's VmConfig, by
// vmm/src/api/openapi/cloud-hypervisor.yaml of commit 00f68228812d.
import { HatchwayError } from "#error";
import type { Form, Wirer, WiringRequest } from "#wiring";
import {
  checkWired,
  DISK_SERIAL,
  fileNotes,
  fileOf,
  GUEST_CID,
  NOT_RUN,
  onlyBy,
  shellLines,
  socketNotes,
} from "./wiring.ts";

export const cloudHypervisor: Wirer = {
  vmm: "cloud-hypervisor",
  proof: NOT_RUN,
  refusal: onlyBy("cloud-hypervisor", ["vsock", "disk"], {
    "virtio-serial": "Cloud Hypervisor has no virtio-serial ports",
    "fw-cfg": "its fw_cfg is an option of its build, which is not relied on",
    tcp: "Cloud Hypervisor brings no file of a firmware: put what hatchway pki guest writes into the guest yourself, and give it a network",
    smbios: "its --platform oem_strings= takes values and no files, so they would be in its arguments for all to see",
  }),

  wire(request) {
    checkWired(this, request);
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

function argumentsForm(words: readonly string[]): Form {
  return { name: "arguments", what: "options of cloud-hypervisor, behind your own", text: shellLines([words]) };
}

/** A value of its option parser, which splits at commas and reads quotes and brackets. */
function plainValue(value: string): string {
  if (!/[,"[\]]/.test(value)) return value;
  throw new HatchwayError("invalid", `path "${value}" has a comma, a quote or a bracket, which an option cannot hold`);
}
