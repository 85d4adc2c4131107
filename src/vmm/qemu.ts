// The exact command line of QEMU for a machine: a pure function of what the machine is.
//
// The guest is not trusted, so there is no device that nobody asked for (-nodefaults, no display, no network by itself), nothing is
// read from configuration files, image formats are told and never probed, guest memory stays out of core dumps and is
// not merged with that of other machines, and QEMU's seccomp filter takes away what an escaped guest would like.

import { HatchwayError } from "#error";
import { checkSocketPath } from "#socket-path";
import type { Accelerator, MachineSpec } from "#vmm";
import { firmwareArguments } from "./firmware.ts";
import { inheritedPath } from "./inherited.ts";
import { NETWORK_WORD, networkOptions } from "./network.ts";
import { qmpSocket, shellSocket } from "./paths.ts";
import { DISK_SERIAL, SHARE_TAG } from "./wiring.ts";

export const qemuProgram = "qemu-system-x86_64";

/** Names of the virtio-serial ports; the guest finds them in /sys/class/virtio-ports/PORT/name. */
export const agentPort = "org.hatchway.0";
export const shellPort = "org.hatchway.shell";

/** Linux, Documentation/x86/boot.rst: COMMAND_LINE_SIZE with its final NUL. */
const maximumCommandLine = 2047;

const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/**
 * QEMU's arguments, without the program. It waits with the guest's first instruction until it is told `cont` over QMP.
 * Throws HatchwayError "invalid".
 */
export function qemuArguments(spec: MachineSpec, accelerator: Accelerator): string[] {
  checkRange("memory", spec.memoryMiB, 64, 1_048_576, " MiB");
  checkRange("cpus", spec.cpus, 1, 255, "");
  const options: (readonly string[])[] = [
    ["-name", `guest=${escapeOption(spec.name)}`],
    [
      "-machine",
      `q35,vmport=off,dump-guest-core=off,mem-merge=off${spec.share?.by === "virtiofs" ? ",memory-backend=memory" : ""}`,
    ],
    acceleration(accelerator),
    ["-m", `size=${spec.memoryMiB}M`],
    ["-smp", `cpus=${spec.cpus}`],
    ["-no-user-config", "-nodefaults", "-display", "none", "-S"],
    ["-sandbox", sandbox],
    ["-kernel", checkPath("kernel", spec.kernel)],
    spec.initrd === undefined ? [] : ["-initrd", checkPath("initrd", spec.initrd)],
    ["-append", commandLine(accelerator, spec)],
    ["-chardev", `socket,id=qmp,${socketPath(qmpSocket(spec.directory))},server=on,wait=off`],
    ["-mon", "chardev=qmp,mode=control"],
    ["-chardev", `socket,id=console,${socketPath(spec.consoleSocket)},reconnect=1`],
    ["-serial", "chardev:console"],
    ["-device", "virtio-serial-pci,id=ports,max_ports=4"],
    ...(spec.network === true ? networkOptions : agentOptions(spec.serialSocket)),
    ...(spec.shell ? shellOptions(spec.directory) : []),
    ...disk(spec.disk),
    firmwareArguments(spec.firmware ?? []),
    ...secretsDisk(spec),
    ...share(spec),
  ];
  return options.flat();
}

/** A kernel alone under KVM, its console on standard output: see kvm.ts. */
export function probeArguments(kernel: string): string[] {
  const options: string[][] = [
    ["-machine", "q35,vmport=off"],
    acceleration({ kind: "kvm" }),
    ["-m", "size=256M"],
    ["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"],
    ["-sandbox", sandbox],
    ["-kernel", checkPath("kernel", kernel)],
    ["-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1"],
    ["-serial", "stdio"],
  ];
  return options.flat();
}

/**
 * A value inside of one of QEMU's comma-separated options, where a comma is written twice (qemu(1), "-drive"). Throws
 * HatchwayError "invalid" for what no option can hold.
 */
export function escapeOption(value: string): string {
  if (/[\0\r\n]/.test(value)) {
    throw new HatchwayError("invalid", `${JSON.stringify(value)} should have no NUL and no line break`);
  }
  return value.replaceAll(",", ",,");
}

function acceleration(accelerator: Accelerator): string[] {
  // Without RDRAND the guest's random numbers are not seeded for many seconds, and whoever needs one waits.
  return accelerator.kind === "kvm" ? ["-accel", "kvm", "-cpu", "host"] : ["-accel", "tcg", "-cpu", "qemu64,+rdrand"];
}

function commandLine(accelerator: Accelerator, { append, network }: MachineSpec): string {
  const words = ["console=ttyS0", "quiet", "panic=-1", "cryptomgr.notests"];
  // Under emulation a guest loses a second to measuring clocks that it could be told, and to moving its kernel about.
  if (accelerator.kind === "tcg") words.push("nokaslr", "tsc=reliable", "no_timer_check", "lpj=4000000");
  if (network === true) words.push(NETWORK_WORD);
  if (append !== undefined && append !== "") words.push(append);
  const line = words.join(" ");
  if (!/^[\x20-\x7e]*$/.test(line)) {
    throw new HatchwayError("invalid", `the kernel's command line should be printable ASCII on one line`);
  }
  if (line.length > maximumCommandLine) {
    throw new HatchwayError(
      "too-large",
      `the kernel's command line is ${line.length} bytes long, and should be at most ${maximumCommandLine}`,
    );
  }
  return line;
}

function agentOptions(socket: string): string[][] {
  return [
    ["-chardev", `socket,id=agent,${socketPath(socket)},reconnect=1`],
    ["-device", `virtserialport,bus=ports.0,nr=1,chardev=agent,name=${agentPort}`],
  ];
}

function shellOptions(directory: string): string[][] {
  return [
    ["-chardev", `socket,id=shell,${socketPath(shellSocket(directory))},server=on,wait=off`],
    ["-device", `virtserialport,bus=ports.0,nr=2,chardev=shell,name=${shellPort}`],
  ];
}

function disk(image: MachineSpec["disk"]): string[][] {
  if (image === undefined) return [];
  const file = { driver: "file", filename: checkPath("disk", image.path) };
  return [
    // As JSON a path needs no escapes.
    ["-blockdev", JSON.stringify({ driver: image.format, "node-name": "disk", file })],
    ["-device", "virtio-blk-pci,drive=disk"],
  ];
}

/** The guest finds it by its serial, whatever file system it has. */
function secretsDisk({ secretsDisk: content, firmware = [] }: MachineSpec): string[][] {
  if (content === undefined) return [];
  const filename = inheritedPath(firmware.length);
  const file = { driver: "file", filename, "read-only": true };
  return [
    ["-blockdev", JSON.stringify({ driver: "raw", "node-name": "secrets", "read-only": true, file })],
    ["-device", `virtio-blk-pci,drive=secrets,serial=${DISK_SERIAL}`],
  ];
}

/** The memory of a guest whose share another process serves is that process's as well (vhost-user). */
function share({ share: shared, memoryMiB }: MachineSpec): string[][] {
  if (shared === undefined) return [];
  if (shared.by === "9p") return nineP("share", checkPath("share", shared.folder));
  return [
    ["-object", `memory-backend-memfd,id=memory,size=${memoryMiB}M,share=on`],
    ["-chardev", `socket,id=share,${socketPath(shared.socket)}`],
    ["-device", `vhost-user-fs-pci,chardev=share,tag=${SHARE_TAG}`],
  ];
}

/** Read-only; attributes are those that #share/look keeps beside the files, where it does. */
export function nineP(id: string, folder: string): string[][] {
  return [
    ["-fsdev", `local,id=${id},path=${escapeOption(folder)},security_model=mapped-file,readonly=on`],
    ["-device", `virtio-9p-pci,fsdev=${id},mount_tag=${SHARE_TAG}`],
  ];
}

function socketPath(path: string): string {
  checkSocketPath(path, "use a shorter vm name or a shorter XDG_RUNTIME_DIR");
  return `path=${escapeOption(checkPath("socket", path))}`;
}

function checkPath(what: string, path: string): string {
  if (!path.startsWith("/") || /[\0\r\n]/.test(path)) {
    throw new HatchwayError("invalid", `the ${what} path ${JSON.stringify(path)} should be absolute, on one line`);
  }
  return path;
}

function checkRange(what: string, value: number, low: number, high: number, unit: string): void {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new HatchwayError(
      "invalid",
      `${what} is ${value}${unit}, and should be a whole number from ${low} to ${high}`,
    );
  }
}
