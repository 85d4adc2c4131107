// Disks that carry a bundle, as the kernel shows them in /sys/class/block (Documentation/ABI/stable/sysfs-block); no udev
// is needed. One is known by its own serial, or by the label of the file system on it or on a partition of it.
import { AgentError, reason } from "./error.ts";
import { reading } from "./reading.ts";
import type { DiskSource } from "./source.ts";
import { parseSuperblock, SUPERBLOCK_BYTES, type FileSystem, type Superblock } from "./superblock.ts";
import { failedWith, HERE, SysError, type Fd, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { openDirectory, readFile, statOrNone, using } from "./tree.ts";

const BLOCK = "/sys/class/block";
const DEVICES = "/sys/devices/";
/** Whoever puts such a device into the machine need not be its host: a stick, a card, a disc. */
const PORTABLE = /\/(?:usb|mmc)[0-9]/;

/** A disk or partition of this guest. */
interface Device {
  name: string;
  partition: boolean;
  /** Only the host can have put it there, and nobody here can write to it. */
  fixed: boolean;
}

/** Which of a guest's disks a source may mean: those that are fixed and read-only, or any. */
export type Trust = "fixed" | "any";

/** What to do with what is on a disk: the root of its file system, or the sealed bundle that fills it. */
export interface DiskUse<T> {
  folder: (root: Fd) => T;
  sealed: (fd: Fd) => T;
}

/** Whether some disk is what the source names. */
export function isOnDisk(sys: Sys, source: DiskSource, trust: Trust): boolean {
  return devices(sys, trust).some((device) => matches(sys, device, source));
}

/**
 * Uses the one disk that the source names: a sealed bundle as it is, a file system mounted read-only, without devices, set-id and programs, and
 * nowhere: no other process can see it, and it is gone with its descriptor. Throws AgentError: "host-gone" for no such
 * disk, which may still come; "machine" for two of them, and for one that this kernel can't mount.
 */
export function withDisk<T>(sys: Sys, source: DiskSource, trust: Trust, use: DiskUse<T>): T {
  const all = reading("the list of disks", () => devices(sys, trust));
  const found = all.filter((device) => matches(sys, device, source));
  const wanted = `the ${source.kind} "${source.kind === "label" ? source.label : source.serial}"`;
  const [device, other] = found;
  if (!device) {
    const seen = all.length === 0 ? "it has none: is their driver loaded?" : all.map(({ name }) => name).join(", ");
    throw new AgentError("host-gone", `no disk of this guest has ${wanted} (${seen})`);
  }
  if (other) {
    throw new AgentError(
      "machine",
      `disks "${device.name}" and "${other.name}" both have ${wanted}: only one is the host's`,
    );
  }
  return using(
    sys,
    reading(`disk "${device.name}"`, () => openDevice(sys, device)),
    (fd) => {
      const superblock = reading(`disk "${device.name}"`, () => superblockOf(sys, fd));
      if (superblock?.type !== "sealed") return using(sys, mount(sys, device, fd, superblock?.type), use.folder);
      // The same device from its beginning, whatever has its name by now.
      return using(sys, sys.openat(HERE, `/proc/self/fd/${fd}`, sys.O_RDONLY | sys.O_NONBLOCK), use.sealed);
    },
  );
}

/** What was looked at is what is mounted, whatever has its name by then. */
function mount(sys: Sys, { name }: Device, fd: Fd, type: FileSystem | undefined): Fd {
  if (!type) {
    throw new AgentError("machine", `disk "${name}" has neither EROFS, SquashFS or ISO 9660 on it nor a sealed bundle`);
  }
  try {
    return sys.mountPrivate(type, `/proc/self/fd/${fd}`);
  } catch (cause) {
    const why = failedWith(cause, "ENODEV") ? `it has no driver ${type}` : reason(cause);
    throw new AgentError("machine", `this kernel cannot mount disk "${name}": ${why}`, { cause });
  }
}

function matches(sys: Sys, device: Device, source: DiskSource): boolean {
  if (source.kind === "serial") return !device.partition && serialOf(sys, device) === source.serial;
  try {
    return using(sys, openDevice(sys, device), (fd) => superblockOf(sys, fd)?.label === source.label);
  } catch (error) {
    // A drive without a medium, or a disk that can't be read: it has no label.
    if (error instanceof SysError) return false;
    throw error;
  }
}

function superblockOf(sys: Sys, fd: Fd): Superblock | undefined {
  const head = new Uint8Array(SUPERBLOCK_BYTES);
  try {
    let length = 0;
    for (let count = 1; count > 0 && length < head.length; length += count) count = sys.read(fd, head.subarray(length));
    return parseSuperblock(head.subarray(0, length));
  } finally {
    sys.wipe(head);
  }
}

function openDevice(sys: Sys, { name }: Device): Fd {
  // The kernel writes a slash of a name as "!" (kobject_set_name_vargs).
  const path = `/dev/${name.replaceAll("!", "/")}`;
  return sys.openat(HERE, path, sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK);
}

/** All that have a size and are no file, memory or mapping of this guest's own. */
function devices(sys: Sys, trust: Trust): Device[] {
  if (!statOrNone(sys, HERE, BLOCK)) return [];
  return using(sys, openDirectory(sys, HERE, BLOCK), (dir) =>
    sys
      .readdir(dir)
      .sort()
      .flatMap((name) => deviceOf(sys, dir, name) ?? [])
      .filter(({ fixed }) => fixed || trust === "any"),
  );
}

function deviceOf(sys: Sys, dir: Fd, name: string): Device | undefined {
  const link = sys.readlinkat(dir, name).replace(/^(?:\.\.\/)*devices\//, DEVICES);
  if (link.includes("/virtual/") || attribute(sys, name, "size") === "0") return undefined;
  const partition = attribute(sys, name, "partition") !== undefined;
  const removable = attribute(sys, name, partition ? "../removable" : "removable") !== "0";
  const writable = attribute(sys, name, "ro") !== "1";
  return { name, partition, fixed: !removable && !writable && !PORTABLE.test(link) };
}

/** virtio-blk has it beside the disk, NVMe at its device, SCSI in a page of vital product data (SPC-4, 7.8.15). */
function serialOf(sys: Sys, { name }: Device): string | undefined {
  const page = contents(sys, `${BLOCK}/${name}/device/vpd_pg80`);
  const serial = page
    ? decodeUtf8(page.subarray(4)).trim()
    : attribute(sys, name, "serial") || attribute(sys, name, "device/serial");
  return serial === "" ? undefined : serial;
}

function attribute(sys: Sys, name: string, path: string): string | undefined {
  const bytes = contents(sys, `${BLOCK}/${name}/${path}`);
  return bytes && decodeUtf8(bytes).trim();
}

function contents(sys: Sys, path: string): Uint8Array | undefined {
  try {
    return readFile(sys, HERE, path, 4_096);
  } catch (error) {
    // What this kind of disk does not have, or a disk that has just gone.
    if (failedWith(error, "ENOENT", "ENOTDIR", "ENODEV", "ENXIO", "EINVAL", "EIO")) return undefined;
    throw error;
  }
}
