import { describe, test } from "vitest";
import type { Accelerator, MachineSpec } from "#vmm";
import { escapeOption, qemuArguments } from "./qemu.ts";

const tcg: Accelerator = { kind: "tcg", reason: "a test" };
const spec: MachineSpec = {
  name: "web-1",
  directory: "/run/hatchway/vm/web-1",
  runner: { uid: 1000, gid: 1000 },
  kernel: "/boot/vmlinuz",
  memoryMiB: 256,
  cpus: 1,
  serialSocket: "/run/hatchway/vm/web-1/serial.sock",
  consoleSocket: "/run/hatchway/vm/web-1/console.sock",
  shell: false,
};

function valueOf(args: string[], option: string): string | undefined {
  return args[args.indexOf(option) + 1];
}

test("the whole command line of a small machine", ({ expect }) => {
  expect(qemuArguments({ ...spec, initrd: "/boot/initrd.img", shell: true }, tcg).join(" ")).toBe(
    [
      "-name guest=web-1 -machine q35,vmport=off,dump-guest-core=off,mem-merge=off -accel tcg -cpu qemu64,+rdrand",
      "-m size=256M -smp cpus=1 -no-user-config -nodefaults -display none -S",
      "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
      "-kernel /boot/vmlinuz -initrd /boot/initrd.img -append console=ttyS0 quiet panic=-1 cryptomgr.notests",
      "nokaslr tsc=reliable no_timer_check lpj=4000000",
      "-chardev socket,id=qmp,path=/run/hatchway/vm/web-1/qmp.sock,server=on,wait=off -mon chardev=qmp,mode=control",
      "-chardev socket,id=console,path=/run/hatchway/vm/web-1/console.sock,reconnect=1 -serial chardev:console",
      "-device virtio-serial-pci,id=ports,max_ports=4",
      "-chardev socket,id=agent,path=/run/hatchway/vm/web-1/serial.sock,reconnect=1",
      "-device virtserialport,bus=ports.0,nr=1,chardev=agent,name=org.hatchway.0",
      "-chardev socket,id=shell,path=/run/hatchway/vm/web-1/shell.sock,server=on,wait=off",
      "-device virtserialport,bus=ports.0,nr=2,chardev=shell,name=org.hatchway.shell",
    ].join(" "),
  );
});

test("under KVM the guest has the host's processor and keeps its address randomization", ({ expect }) => {
  const args = qemuArguments(spec, { kind: "kvm" });
  expect(valueOf(args, "-accel")).toBe("kvm");
  expect(valueOf(args, "-cpu")).toBe("host");
  expect(valueOf(args, "-append")).toBe("console=ttyS0 quiet panic=-1 cryptomgr.notests");
});

test("a disk's format is told, and its path is data whatever it holds", ({ expect }) => {
  const path = '/images/a,format=qcow2,"b\\c.img';
  const args = qemuArguments({ ...spec, disk: { path, format: "raw" } }, tcg);
  expect(JSON.parse(valueOf(args, "-blockdev") ?? "")).toEqual({
    driver: "raw",
    "node-name": "disk",
    file: { driver: "file", filename: path },
  });
  expect(args).toContain("virtio-blk-pci,drive=disk");
});

describe("no path, name or append adds an option", () => {
  test("commas are doubled", ({ expect }) => {
    expect(escapeOption("a,server=off,,b")).toBe("a,,server=off,,,,b");
    const args = qemuArguments({ ...spec, serialSocket: "/run/a,server=on.sock", name: "x,process=y" }, tcg);
    expect(args).toContain("socket,id=agent,path=/run/a,,server=on.sock,reconnect=1");
    expect(args).toContain("guest=x,,process=y");
  });

  test("NUL, line breaks and relative paths are refused", ({ expect }) => {
    const change: Partial<MachineSpec>[] = [
      { kernel: "vmlinuz" },
      { kernel: "-append" },
      { kernel: "/a\0b" },
      { initrd: "/a\nb" },
      { disk: { path: "disk.img", format: "raw" } },
      { consoleSocket: "/a\rb" },
      { serialSocket: "s" },
      { name: "a\nb" },
      { append: "a\nb" },
      { append: "größe" },
    ];
    for (const changed of change) expect(() => qemuArguments({ ...spec, ...changed }, tcg)).toThrow("should ");
  });
});

test("what the firmware shows is named by descriptors, and its bytes are in no argument", ({ expect }) => {
  const content = Buffer.from("the value");
  const args = qemuArguments(
    {
      ...spec,
      firmware: [
        { kind: "smbios", content },
        { kind: "fw-cfg", name: "opt/a,b", content },
      ],
    },
    tcg,
  );
  expect(args.slice(-6).join(" ")).toBe(
    "-global fw_cfg.x-file-slots=33 -smbios type=11,path=/proc/self/fd/3 -fw_cfg name=opt/a,,b,file=/proc/self/fd/4",
  );
  expect(args.join(" ")).not.toContain("the value");
});

test("a disk with secrets is read-only, known by its serial, and opened by a descriptor behind those of the firmware", ({
  expect,
}) => {
  const content = Buffer.from("the value");
  const args = qemuArguments({ ...spec, firmware: [{ kind: "smbios", content }], secretsDisk: content }, tcg);
  const [blockdev = "", , device] = args.slice(-3);
  expect(device).toBe("virtio-blk-pci,drive=secrets,serial=HATCHWAY");
  expect(JSON.parse(blockdev)).toEqual({
    driver: "raw",
    "node-name": "secrets",
    "read-only": true,
    file: { driver: "file", filename: "/proc/self/fd/4", "read-only": true },
  });
  expect(args.join(" ")).not.toContain("the value");
});

function refused(changed: Partial<MachineSpec>): string {
  try {
    return qemuArguments({ ...spec, ...changed }, tcg).join(" ");
  } catch (error) {
    return (error as Error).message;
  }
}

test("what no machine can be is refused with what it should be", ({ expect }) => {
  expect(refused({ memoryMiB: 63 })).toBe("memory is 63 MiB, and should be a whole number from 64 to 1048576");
  expect(refused({ memoryMiB: 100.5 })).toBe("memory is 100.5 MiB, and should be a whole number from 64 to 1048576");
  expect(refused({ cpus: 0 })).toBe("cpus is 0, and should be a whole number from 1 to 255");
  expect(refused({ append: "x".repeat(2000) })).toContain("bytes long, and should be at most 2047");
  expect(refused({ directory: `/${"d".repeat(100)}` })).toBe(
    `socket path "/${"d".repeat(100)}/qmp.sock" has 110 bytes: at most 107`,
  );
});
