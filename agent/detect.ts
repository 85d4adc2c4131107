// Where this guest's bundle comes from when nobody says so.
import { isOnDisk } from "./disk.ts";
import { AgentError } from "./error.ts";
import { isInFirmware } from "./firmware.ts";
import { findIdentity } from "./identity.ts";
import { findPort, parseSource, PORT_NAME, type DiskSource, type Source } from "./source.ts";
import { HERE, type Sys } from "./sys.ts";
import { statOrNone } from "./tree.ts";

/** The host on vsock, and its port there. */
const HOST_CID = 2;
const HOST_PORT = 5107;
/** The serial and the label of the host's disk. The serial comes first: no content of another disk can claim it. */
const NAME = "HATCHWAY";
const DISKS: readonly DiskSource[] = [
  { kind: "serial", serial: NAME },
  { kind: "label", label: NAME },
];

/**
 * The first that there is of: a virtio-serial port named org.hatchway.0; the host that what this guest shows by TLS names
 * (`tls`: the file of that, which then is meant before all else); vsock to the host; a bundle in fw_cfg, or in
 * SMBIOS; a disk of serial or label HATCHWAY that is read-only and can't be carried away.
 */
export function detectSource(sys: Sys, tls?: string): Source {
  if (tls !== undefined) {
    const source = hostOf(sys, tls);
    if (source) return source;
    throw new AgentError("usage", `"${tls}" has no line "Host: HOST:PORT": say it by --from tls:HOST:PORT`);
  }
  if (findPort(sys, PORT_NAME) !== undefined) return { kind: "virtio-serial", port: PORT_NAME };
  const host = hostOf(sys);
  if (host) return host;
  if (statOrNone(sys, HERE, "/dev/vsock")) return { kind: "vsock", cid: HOST_CID, port: HOST_PORT };
  for (const kind of ["fw-cfg", "smbios"] as const) if (isInFirmware(sys, kind)) return { kind };
  const disk = DISKS.find((source) => isOnDisk(sys, source, "fixed"));
  if (disk) return disk;
  const ways = `no virtio-serial port "${PORT_NAME}", no host in a TLS file, no /dev/vsock, nothing in fw_cfg or SMBIOS, no read-only disk "${NAME}"`;
  throw new AgentError("machine", `no way to a host: ${ways} (name one by --from)`);
}

function hostOf(sys: Sys, path?: string): Source | undefined {
  const identity = findIdentity(sys, path);
  if (!identity) return undefined;
  sys.wipe(identity.bytes);
  return identity.host === undefined ? undefined : parseSource(`tls:${identity.host}`);
}
