import { test } from "vitest";
import {
  cloudHypervisorFields,
  fieldProblems,
  firecrackerFields,
  microvmOptions,
  microvmShare,
  microvmVolume,
  nixNames,
} from "#test/kit/published-fields";
import { parseVersion, VMMS, WIRED, type Form, type WiringRequest } from "#wiring";
import { WIRERS } from "./wirers.ts";

const sockets = { "virtio-serial": "/run/hw/vm/web/serial.sock", vsock: "/run/hw/vm/web/vsock" };
const file = "/dev/shm/web 1,'x'.img";

function request(channel: WiringRequest["channel"], change: Partial<WiringRequest> = {}): WiringRequest {
  const firmware = [{ name: "opt/io.systemd.credentials/hatchway.bundle", file }];
  return { channel, sockets, file, firmware, oemPrefix: "p=", cid: 7, memoryMiB: 512, qemu: undefined, ...change };
}

function formOf(vmm: (typeof VMMS)[number], channel: WiringRequest["channel"], name: Form["name"]): string {
  const path = vmm === "cloud-hypervisor" ? { file: "/dev/shm/web.img" } : {};
  const form = WIRERS[vmm].wire(request(channel, path)).forms.find((one) => one.name === name);
  return form?.text ?? "";
}

const json = (text: string): Record<string, unknown> => JSON.parse(text) as Record<string, unknown>;

test("QEMU is told of a port of virtio-serial that connects again", ({ expect }) => {
  expect(formOf("qemu", "virtio-serial", "arguments")).toBe(
    [
      "-device virtio-serial-pci,id=hatchway-ports \\",
      "-chardev socket,id=hatchway,path=/run/hw/vm/web/serial.sock,reconnect=1 \\",
      "-device virtserialport,bus=hatchway-ports.0,chardev=hatchway,name=org.hatchway.0",
    ].join("\n"),
  );
  const { forms } = WIRERS.qemu.wire(request("virtio-serial", { qemu: { major: 10, minor: 0, patch: 2 } }));
  expect(forms[0]?.text).toContain("serial.sock,reconnect-ms=1000");
});

test("QEMU's vsock comes with the command of its device, in the VM's folder", ({ expect }) => {
  const { forms, notes } = WIRERS.qemu.wire(request("vsock"));
  expect(forms[0]?.text).toContain("path=/run/hw/vm/web/vhost.sock");
  expect(forms[0]?.text).toContain("size=512M,share=on");
  expect(notes[0]).toContain(
    "vhost-device-vsock --guest-cid 3 --socket /run/hw/vm/web/vhost.sock --uds-path /run/hw/vm/web/vsock",
  );
});

test("QEMU shares a folder by 9p itself, and by virtiofs through a process whose command is told", ({ expect }) => {
  expect(formOf("qemu", "9p", "arguments").split(" \\\n")).toEqual([
    "-fsdev 'local,id=hatchway-share,path=/dev/shm/web 1,,'\\''x'\\''.img,security_model=mapped-file,readonly=on'",
    "-device virtio-9p-pci,fsdev=hatchway-share,mount_tag=hatchway",
  ]);
  const { forms, notes } = WIRERS.qemu.wire(request("virtiofs", { file: "/run/share/files" }));
  expect(forms[0]?.text).toContain("path=/run/hw/vm/web/share.sock");
  expect(forms[0]?.text).toContain("size=512M,share=on");
  expect(notes[0]).toContain(
    "/usr/lib/qemu/virtiofsd --socket-path=/run/hw/vm/web/share.sock -o source=/run/share/files -o cache=none",
  );
});

test("QEMU's SMB server is in a network that leads nowhere else", ({ expect }) => {
  expect(formOf("qemu", "smb", "arguments").split(" \\\n")).toEqual([
    "-netdev 'user,id=hatchway-share,restrict=on,smb=/dev/shm/web 1,,'\\''x'\\''.img'",
    "-device virtio-net-pci,netdev=hatchway-share",
  ]);
});

test("a path with a comma, a space and quotes is one word of the shell and one value of the option", ({ expect }) => {
  expect(formOf("qemu", "fw-cfg", "arguments")).toContain(
    "-fw_cfg 'name=opt/io.systemd.credentials/hatchway.bundle,file=/dev/shm/web 1,,'\\''x'\\''.img'",
  );
  expect(formOf("vmspawn", "disk", "environment")).toContain(`filename=/dev/shm/web 1,,'\\''x'\\''.img"`);
});

test.for([
  ["7.2.17", false],
  ["7.2.18", true],
  ["8.2.9", false],
  ["9.2.0", false],
  ["10.0.0", true],
] as const)("smbios by path= with QEMU %s: %j", ([version, fits], { expect }) => {
  const refusal = WIRERS.qemu.refusal("smbios", parseVersion(`QEMU emulator version ${version} (Debian 1:${version})`));
  expect(refusal === undefined).toBe(fits);
  if (refusal) expect(refusal.reason).toBe(`QEMU ${version} reads past the end of a file that -smbios path= names`);
});

test("what Firecracker is told is in its published field list", ({ expect }) => {
  expect(fieldProblems(firecrackerFields.vsock, json(formOf("firecracker", "vsock", "api")))).toEqual([]);
  expect(fieldProblems(firecrackerFields.drive, json(formOf("firecracker", "disk", "api")))).toEqual([]);
  expect(json(formOf("firecracker", "vsock", "config"))).toEqual({
    vsock: { guest_cid: 3, uds_path: "/run/hw/vm/web/vsock" },
  });
  const { drives } = json(formOf("firecracker", "disk", "config")) as { drives: Record<string, unknown>[] };
  expect(drives.map((drive) => fieldProblems(firecrackerFields.drive, drive))).toEqual([[]]);
});

test("what Cloud Hypervisor is told is in its published field list", ({ expect }) => {
  expect(formOf("cloud-hypervisor", "vsock", "arguments")).toBe("--vsock cid=3,socket=/run/hw/vm/web/vsock");
  expect(fieldProblems(cloudHypervisorFields.vsock, json(formOf("cloud-hypervisor", "vsock", "api")))).toEqual([]);
  expect(fieldProblems(cloudHypervisorFields.disk, json(formOf("cloud-hypervisor", "disk", "api")))).toEqual([]);
  expect(fieldProblems(cloudHypervisorFields.fs, json(formOf("cloud-hypervisor", "virtiofs", "api")))).toEqual([]);
  expect(() => WIRERS["cloud-hypervisor"].wire(request("disk"))).toThrow("has a comma");
});

test("what microvm.nix is told is in its published options", ({ expect }) => {
  for (const channel of ["virtio-serial", "vsock", "fw-cfg", "disk", "9p", "virtiofs", "tcp"] as const) {
    for (const { text } of WIRERS["microvm.nix"].wire(request(channel)).forms) {
      const inner = channel === "fw-cfg" ? text.replaceAll(/credentialFiles = \{[^}]*\}/g, "credentialFiles = ") : text;
      const { options, volume, share } = nixNames(inner);
      expect(options.length).toBeGreaterThan(0);
      for (const name of options) expect(microvmOptions).toContain(name);
      for (const name of volume) expect(microvmVolume).toContain(name);
      for (const name of share) expect(microvmShare).toContain(name);
    }
  }
});

test("a field that is unknown, missing or of another type is found", ({ expect }) => {
  expect(fieldProblems(firecrackerFields.vsock, { guest_cid: 2, path: "/x" })).toEqual([
    "path is unknown",
    "uds_path is missing",
    "guest_cid is of another type",
  ]);
});

test("each VMM wires what it does not refuse, and refuses the rest with a way out", ({ expect }) => {
  for (const vmm of VMMS) {
    for (const channel of WIRED) {
      const plain = request(channel, { file: "/dev/shm/web.img" });
      const refusal = WIRERS[vmm].refusal(channel, undefined);
      if (refusal) {
        expect(refusal.instead).toMatch(/^use /);
        expect(() => WIRERS[vmm].wire(plain)).toThrow(`${vmm} cannot bring ${channel}: ${refusal.reason}`);
      } else {
        const { forms, notes } = WIRERS[vmm].wire(plain);
        expect(forms.map(({ text }) => text).join("")).not.toBe("");
        expect(notes).not.toEqual([]);
      }
    }
  }
});

test("what brings a file says how to make one, where none is named", ({ expect }) => {
  expect(() => WIRERS.libvirt.wire(request("disk", { file: undefined }))).toThrow("disk needs the file");
  expect(() => WIRERS.qemu.wire(request("tcp", { file: undefined }))).toThrow("tcp needs the file");
});

test("QEMU, libvirt and vmspawn are told the CID of the kernel's vsock, and nobody is without one", ({ expect }) => {
  expect(formOf("qemu", "af-vsock", "arguments")).toBe("-device vhost-vsock-pci,guest-cid=7");
  expect(formOf("libvirt", "af-vsock", "xml")).toContain("<cid auto='no' address='7'/>");
  expect(formOf("vmspawn", "af-vsock", "arguments")).toBe("--vsock=yes --vsock-cid=7");
  expect(() => WIRERS.qemu.wire(request("af-vsock", { cid: undefined }))).toThrow("needs a VM that has a CID");
});
