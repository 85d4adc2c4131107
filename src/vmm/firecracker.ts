// Firecracker: bodies of its API, and members of its configuration file, by src/firecracker/swagger/firecracker.yaml of
// version 1.17.0-dev. Paths are as Firecracker sees them: under its jailer they begin in the jail.
import type { Form, Wirer, WiringRequest } from "#wiring";
import { checkWired, fileNotes, fileOf, GUEST_CID, NOT_RUN, onlyBy, socketNotes } from "./wiring.ts";

/** What a drive is called in the API and in the guest's boot log. */
const DRIVE = "hatchway";

export const firecracker: Wirer = {
  vmm: "firecracker",
  proof: NOT_RUN,
  refusal: onlyBy("firecracker", ["vsock", "disk"], {
    "virtio-serial": "Firecracker has no virtio-serial ports",
    "fw-cfg": "fw_cfg is QEMU's",
    smbios: "Firecracker has no SMBIOS tables",
    tcp: "Firecracker brings no file of a firmware: put what hatchway pki guest writes into the guest yourself, and give it a network",
    "9p": "Firecracker shares no folders",
    virtiofs: "Firecracker shares no folders",
    smb: "Firecracker shares no folders",
  }),

  wire(request) {
    checkWired(this, request);
    return request.channel === "disk" ? wireDisk(fileOf(request)) : wireVsock(request);
  },
};

function wireVsock({ sockets }: WiringRequest): { forms: Form[]; notes: string[] } {
  const vsock = { guest_cid: GUEST_CID, uds_path: sockets.vsock };
  return {
    forms: [
      { name: "api", what: "the body of PUT /vsock", text: JSON.stringify(vsock, null, 2) },
      { name: "config", what: "a member of --config-file", text: JSON.stringify({ vsock }, null, 2) },
    ],
    notes: [
      "Firecracker makes that socket and does not start where it is already: remove it before each start",
      "under the jailer the folder has to be in the jail, by a bind mount, and the path as it is called there",
      ...socketNotes(sockets.vsock),
    ],
  };
}

function wireDisk(file: string): { forms: Form[]; notes: string[] } {
  const drive = { drive_id: DRIVE, path_on_host: file, is_root_device: false, is_read_only: true };
  return {
    forms: [
      { name: "api", what: `the body of PUT /drives/${DRIVE}`, text: JSON.stringify(drive, null, 2) },
      { name: "config", what: "a member of --config-file", text: JSON.stringify({ drives: [drive] }, null, 2) },
    ],
    notes: [
      "a drive has no serial there: the guest finds it by its label, so make it erofs or iso",
      ...fileNotes(file),
    ],
  };
}
