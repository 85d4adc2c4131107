// Where a bundle comes from: the value of --from, or what this guest turns out to have.
import { AgentError } from "./error.ts";
import { isInFirmware } from "./firmware.ts";
import { HERE, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { openDirectory, readFile, statOrNone, using } from "./tree.ts";

export type Source =
  | { kind: "virtio-serial"; port: string }
  | { kind: "vsock"; cid: number; port: number }
  | { kind: "unix"; path: string }
  /** What the host put into the machine's firmware before the boot. */
  | { kind: "fw-cfg" }
  | { kind: "smbios" }
  /** A unix socket that speaks as a virtio-serial port does, resync and all: for tests. */
  | { kind: "unix-serial"; path: string };

/** What is in the firmware is there from the boot on; with the others somebody answers. */
export type FirmwareSource = Extract<Source, { kind: "fw-cfg" | "smbios" }>;
export type LiveSource = Exclude<Source, FirmwareSource>;

/** The host's port on vsock. */
export const HOST_PORT = 5107;
const HOST_CID = 2;
export const PORT_NAME = "org.hatchway.0";
const PORTS = "/sys/class/virtio-ports";
const LATER: ReadonlySet<string> = new Set(["tls", "ssh", "label", "serial", "dir", "file"]);

export function parseSource(text: string): Source {
  const colon = text.indexOf(":");
  const kind = colon < 0 ? text : text.slice(0, colon);
  const rest = colon < 0 ? "" : text.slice(colon + 1);
  if (kind === "virtio-serial") {
    if (!/^[A-Za-z0-9._-]{1,64}$/.test(rest)) throw bad(text, "virtio-serial:NAME");
    return { kind, port: rest };
  }
  if (kind === "unix" || kind === "unix-serial") {
    if (!rest.startsWith("/") || rest.length > 107)
      throw bad(text, `${kind}:PATH, an absolute path of at most 107 bytes`);
    return { kind, path: rest };
  }
  if (kind === "vsock") {
    const [cid, port] = rest.split(":").map(parseWord);
    if (rest.split(":").length !== 2 || cid === undefined || port === undefined) throw bad(text, "vsock:CID:PORT");
    return { kind, cid, port };
  }
  if (kind === "fw-cfg" || kind === "smbios") {
    if (text !== kind) throw bad(text, `${kind} alone`);
    return { kind };
  }
  if (LATER.has(kind)) throw new AgentError("usage", `source "${kind}" is not in this version`);
  throw bad(text, "one of virtio-serial:NAME, vsock:CID:PORT, unix:PATH, fw-cfg, smbios");
}

function parseWord(text: string): number | undefined {
  return /^(?:0|[1-9][0-9]{0,9})$/.test(text) && Number(text) < 2 ** 32 ? Number(text) : undefined;
}

function bad(text: string, wanted: string): AgentError {
  return new AgentError("usage", `source "${text}" should be ${wanted}`);
}

export function formatSource(source: Source): string {
  switch (source.kind) {
    case "virtio-serial":
      return `virtio-serial:${source.port}`;
    case "vsock":
      return `vsock:${source.cid}:${source.port}`;
    case "unix":
    case "unix-serial":
      return `${source.kind}:${source.path}`;
    case "fw-cfg":
    case "smbios":
      return source.kind;
  }
}

/**
 * The first that there is of: a virtio-serial port named org.hatchway.0; vsock to the host; a bundle in fw_cfg, or in
 * SMBIOS.
 */
export function detectSource(sys: Sys): Source {
  if (findPort(sys, PORT_NAME) !== undefined) return { kind: "virtio-serial", port: PORT_NAME };
  if (statOrNone(sys, HERE, "/dev/vsock")) return { kind: "vsock", cid: HOST_CID, port: HOST_PORT };
  for (const kind of ["fw-cfg", "smbios"] as const) if (isInFirmware(sys, kind)) return { kind };
  const ways = `no virtio-serial port named "${PORT_NAME}", no /dev/vsock, nothing in fw_cfg or SMBIOS`;
  throw new AgentError("machine", `no way to a host: ${ways} (name one by --from)`);
}

/** The device of the virtio-serial port with this name. */
export function findPort(sys: Sys, name: string): string | undefined {
  if (!statOrNone(sys, HERE, PORTS)) return undefined;
  return using(sys, openDirectory(sys, HERE, PORTS), (dir) => {
    const port = sys.readdir(dir).find((entry) => {
      const path = `${PORTS}/${entry}/name`;
      // Entries are symlinks into the device tree, which only the kernel writes; the file itself is not one.
      return portName(sys, path) === name;
    });
    return port === undefined ? undefined : `/dev/${port}`;
  });
}

function portName(sys: Sys, path: string): string | undefined {
  return statOrNone(sys, HERE, path) && decodeUtf8(readFile(sys, HERE, path, 4096)).trim();
}
