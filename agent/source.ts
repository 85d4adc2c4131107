// Where a bundle comes from: the value of --from, or what this guest turns out to have.
import { AgentError } from "./error.ts";
import { HERE, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { openDirectory, readFile, statOrNone, using } from "./tree.ts";

export type Source =
  | { kind: "virtio-serial"; port: string }
  | { kind: "vsock"; cid: number; port: number }
  | { kind: "unix"; path: string }
  /** A host of a network, by TLS; `identity` is the file of what this guest shows, where it is named. */
  | { kind: "tls"; host: string; port: number; identity?: string }
  /** What the host put into the machine's firmware before the boot. */
  | { kind: "fw-cfg" }
  | { kind: "smbios" }
  /** A disk, by its file system's label or by its own serial. */
  | { kind: "label"; label: string }
  | { kind: "serial"; serial: string }
  /** A folder that the host shares. */
  | { kind: "dir"; path: string }
  /** A bundle's tar. */
  | { kind: "file"; path: string }
  /** The host's sshd, which knows this guest by its key and runs one command for it. */
  | { kind: "ssh"; user: string; host: string; port: number }
  /** A unix socket that speaks as a virtio-serial port does, resync and all: for tests. */
  | { kind: "unix-serial"; path: string };

/** What is in the firmware is there from the boot on; with the others somebody answers. */
export type FirmwareSource = Extract<Source, { kind: "fw-cfg" | "smbios" }>;
export type DiskSource = Extract<Source, { kind: "label" | "serial" }>;
/** What lies somewhere in the guest, and whoever can put it there decides what it is. */
export type MediaSource = DiskSource | Extract<Source, { kind: "dir" | "file" }>;
export type LiveSource = Exclude<Source, FirmwareSource | MediaSource>;

/** Those that a guest reaches only once it has a network. */
export function isNetwork({ kind }: Source): boolean {
  return kind === "ssh" || kind === "tls";
}

export const PORT_NAME = "org.hatchway.0";
const PORTS = "/sys/class/virtio-ports";
const SSH_PORT = 22;
/** No part begins with a hyphen, which ssh would take for an option. */
const SSH_PLACE =
  /^([A-Za-z_][A-Za-z0-9._-]{0,31})@([A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::([1-9][0-9]{0,4}))?$/;
/** A name, an IPv4 address, or an IPv6 address in brackets; a port. */
const HOST_AND_PORT =
  /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)):([1-9][0-9]{0,4})$/;

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
  if (kind === "tls") {
    const [, address, name, port] = HOST_AND_PORT.exec(rest) ?? [];
    const host = address ?? name;
    if (host === undefined || Number(port) > 65_535) throw bad(text, "tls:HOST:PORT, an IPv6 address in brackets");
    return { kind, host, port: Number(port) };
  }
  if (kind === "fw-cfg" || kind === "smbios") {
    if (text !== kind) throw bad(text, `${kind} alone`);
    return { kind };
  }
  if (kind === "label") {
    if (!/^[A-Za-z0-9_-]{1,32}$/.test(rest)) throw bad(text, "label:NAME, of 1 to 32 characters A-Z a-z 0-9 _ -");
    return { kind, label: rest };
  }
  if (kind === "serial") {
    if (!/^[A-Za-z0-9_.-]{1,64}$/.test(rest)) throw bad(text, "serial:NAME, of 1 to 64 characters A-Z a-z 0-9 _ . -");
    return { kind, serial: rest };
  }
  if (kind === "dir" || kind === "file") {
    if (!rest.startsWith("/") || rest.length > 4_000) throw bad(text, `${kind}:PATH, an absolute path`);
    return { kind, path: rest };
  }
  if (kind === "ssh") return parseSsh(text, rest);
  throw bad(
    text,
    "one of virtio-serial:NAME, vsock:CID:PORT, tls:HOST:PORT, unix:PATH, fw-cfg, smbios, label:NAME, serial:NAME, dir:PATH, file:PATH, ssh:USER@HOST",
  );
}

function parseSsh(text: string, rest: string): Source {
  const [, user, host, digits] = SSH_PLACE.exec(rest) ?? [];
  const port = Number(digits ?? SSH_PORT);
  if (user === undefined || host === undefined || port > 65_535) {
    throw bad(text, "ssh:USER@HOST or ssh:USER@HOST:PORT, an IPv6 address in brackets");
  }
  return { kind: "ssh", user, host, port };
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
    case "tls":
      return `tls:${source.host.includes(":") ? `[${source.host}]` : source.host}:${source.port}`;
    case "unix":
    case "unix-serial":
    case "dir":
    case "file":
      return `${source.kind}:${source.path}`;
    case "ssh":
      return `ssh:${source.user}@${source.host}${source.port === SSH_PORT ? "" : `:${source.port}`}`;
    case "label":
      return `label:${source.label}`;
    case "serial":
      return `serial:${source.serial}`;
    case "fw-cfg":
    case "smbios":
      return source.kind;
  }
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
