// What this guest has for the agent: the ways to a host, what secrets are kept in, and how it is with the agent that runs.
import { detectSource } from "./detect.ts";
import { isOnDisk } from "./disk.ts";
import { AgentError, reason } from "./error.ts";
import { firmwareWord, type Word } from "./firmware-word.ts";
import { isInFirmware } from "./firmware.ts";
import { hasSwap, mountOf } from "./mounts.ts";
import { findPort, formatSource, PORT_NAME } from "./source.ts";
import { failedWith, HERE, RENAME_EXCHANGE, SysError, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { openDirectory, readFile, statOrNone, using } from "./tree.ts";

/** `none`: a way that this guest does not have, which is no fault while it has another. */
export interface Finding {
  what: string;
  state: "ok" | "none" | "warn" | "fail";
  detail: string;
  /** What mends it. */
  mend?: string;
}

/** A guest's clock that is before this was never set: the first of 2025. */
const EARLIEST = 1_735_689_600_000;
const DISK = "HATCHWAY";
const VSOCK_DRIVER = "/sys/bus/virtio/drivers/vmw_vsock_virtio_transport";

/** Looks, and changes nothing. `agent` is what it is like with the agent itself, if it has run. */
export function examine(sys: Sys, root: string, agent: readonly Finding[]): Finding[] {
  return [
    tried("virtio-serial", () => port(sys)),
    tried("vsock", () => vsock(sys)),
    tried("fw_cfg", () => firmware(sys, "fw-cfg", "/sys/firmware/qemu_fw_cfg", "modprobe qemu_fw_cfg")),
    tried("smbios", () => firmware(sys, "smbios", "/sys/firmware/dmi/entries", "modprobe dmi-sysfs")),
    tried("token", () => word(sys, "enrol", "a token: this guest enrols")),
    tried("key", () => word(sys, "key", "a key for what is sealed")),
    tried("disk", () => disk(sys)),
    tried("source", () => source(sys)),
    tried("memory", () => memory(sys, root)),
    tried("exchange", () => exchange(sys)),
    clock(),
    ...agent,
  ];
}

/** Aligned, a line for each; what mends it below. */
export function findingsText(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ what }) => what.length));
  const lines = findings.map(({ what, state, detail, mend }) => {
    const line = `${WORDS[state].padEnd(4)}  ${what.padEnd(width)}  ${detail}`;
    return mend === undefined ? line : `${line}\n${"".padEnd(8 + width)}mend it with: ${mend}`;
  });
  return `${lines.join("\n")}\n`;
}

const WORDS: Record<Finding["state"], string> = { ok: "ok", none: "-", warn: "warn", fail: "FAIL" };

export function findingsJson(findings: readonly Finding[]): string {
  return `${JSON.stringify(findings)}\n`;
}

/** What cannot be looked at is a finding too. */
function tried(what: string, look: () => Omit<Finding, "what">): Finding {
  try {
    return { what, ...look() };
  } catch (error) {
    if (!(error instanceof AgentError || error instanceof SysError)) throw error;
    return { what, state: "fail", detail: reason(error) };
  }
}

type Found = Omit<Finding, "what">;

function port(sys: Sys): Found {
  const device = findPort(sys, PORT_NAME);
  if (device === undefined) {
    const why = statOrNone(sys, HERE, "/sys/class/virtio-ports")
      ? "no port is called"
      : "no driver, or no port, is called";
    return { state: "none", detail: `${why} ${PORT_NAME}` };
  }
  if (statOrNone(sys, HERE, device)) return { state: "ok", detail: `${device} is ${PORT_NAME}` };
  const mend = "mount -t devtmpfs devtmpfs /dev";
  return { state: "fail", detail: `the port ${PORT_NAME} is there, and ${device} is not`, mend };
}

function vsock(sys: Sys): Found {
  if (!statOrNone(sys, HERE, "/dev/vsock")) return { state: "none", detail: "no /dev/vsock" };
  if (!statOrNone(sys, HERE, VSOCK_DRIVER)) {
    const mend = "modprobe vmw_vsock_virtio_transport, or the driver of your VMM";
    return { state: "warn", detail: "/dev/vsock without a driver of virtio", mend };
  }
  const bound = using(sys, openDirectory(sys, HERE, VSOCK_DRIVER), (dir) => sys.readdir(dir));
  if (bound.some((name) => /^virtio[0-9]+$/.test(name))) return { state: "ok", detail: "/dev/vsock, with a device" };
  return { state: "none", detail: "/dev/vsock, and no device of virtio behind it" };
}

function firmware(sys: Sys, kind: "fw-cfg" | "smbios", place: string, mend: string): Found {
  if (isInFirmware(sys, kind)) return { state: "ok", detail: "it has a bundle" };
  if (statOrNone(sys, HERE, place)) return { state: "none", detail: "it has no bundle" };
  return { state: "none", detail: `no ${place}: no driver (${mend}), or no such firmware` };
}

function word(sys: Sys, name: Word, what: string): Found {
  const said = firmwareWord(sys, name);
  if (!said) return { state: "none", detail: "the firmware has none, or its driver is not there" };
  sys.wipe(said);
  return { state: "ok", detail: `the firmware has ${what}` };
}

function disk(sys: Sys): Found {
  for (const found of [{ kind: "serial", serial: DISK } as const, { kind: "label", label: DISK } as const]) {
    if (isOnDisk(sys, found, "fixed")) return { state: "ok", detail: `one has the ${found.kind} ${DISK}` };
  }
  return { state: "none", detail: `no read-only disk has the serial or the label ${DISK}` };
}

function source(sys: Sys): Found {
  try {
    return { state: "ok", detail: `${formatSource(detectSource(sys))} is taken where nothing is said` };
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    const mend = "name one: hatchway-agent run --from SOURCE; on the host: hatchway vm explain NAME";
    return { state: "fail", detail: "no way to a host is found", mend };
  }
}

function memory(sys: Sys, root: string): Found {
  const swaps = hasSwap(decodeUtf8(readFile(sys, HERE, "/proc/swaps", 65_536)));
  const mount = mountOf(decodeUtf8(readFile(sys, HERE, "/proc/self/mountinfo", 4_194_304)), root);
  if (mount?.point !== root)
    return { state: "none", detail: `nothing is mounted at ${root} yet${swaps ? ", and there is swap" : ""}` };
  const isKept = mount.type === "ramfs" || mount.options.includes("noswap") || !swaps;
  if (mount.type !== "tmpfs" && mount.type !== "ramfs") {
    return {
      state: "fail",
      detail: `${root} is ${mount.type}, on a disk`,
      mend: `umount ${root}, and start the agent again`,
    };
  }
  const words = `${mount.type}${mount.options.includes("noswap") ? ", noswap" : ""}`;
  if (isKept) return { state: "ok", detail: `${root} is ${words}${swaps ? "" : ", and there is no swap"}` };
  return { state: "warn", detail: `${root} is ${words}, and there is swap: secrets may get there`, mend: "swapoff -a" };
}

/** Two names that are nowhere: the kernel looks for them only if it knows how to exchange them. */
function exchange(sys: Sys): Found {
  try {
    sys.renameat(HERE, "/proc/self/.hatchway-a", HERE, "/proc/self/.hatchway-b", RENAME_EXCHANGE);
  } catch (error) {
    if (failedWith(error, "ENOENT", "EXDEV", "EPERM", "EACCES", "EROFS")) {
      return { state: "ok", detail: "a new set takes the place of the old one in one step" };
    }
    if (!(error instanceof SysError)) throw error;
    return {
      state: "fail",
      detail: `renameat2 is refused: ${error.message}`,
      mend: "allow it in the sandbox, or use Linux 3.15",
    };
  }
  return { state: "ok", detail: "a new set takes the place of the old one in one step" };
}

function clock(): Finding {
  const now = new Date();
  const detail = `it says ${now.toISOString()}`;
  if (now.getTime() >= EARLIEST) return { what: "clock", state: "ok", detail };
  return { what: "clock", state: "warn", detail: `${detail}, which was never set: a certificate is not valid yet` };
}
