// What holds of every way into a guest, in one table: `vm explain` shows it, and docs/channels.md is held to it.
import { MAX_CREDENTIALS } from "#channel/credentials";
import { MAX_CREDENTIAL_NAME, MAX_FILES } from "#channel/fw-cfg";
import { MAX_STRING_BYTES, MAX_STRINGS } from "#channel/smbios";
import { MAX_BUNDLE_SIZE, MAX_ENTRIES } from "#protocol/names";
import type { WiredChannel } from "#wiring";

export type WayName = WiredChannel | "sealed" | "ssh" | "push" | "af-vsock" | "share";

export interface Way {
  name: WayName;
  /** Whether this version has it. */
  built: boolean;
  how: string;
  limits: string;
  /** Who reads the secrets in the guest, besides those whom the installed files are meant for. */
  guestReaders: string;
  /** Who could read them on the host, besides root and the daemon's user. */
  hostReaders: string;
  /** When a change reaches the guest. */
  fresh: string;
  /** What it never brings. */
  lost: string;
  /** Of the guest. */
  needs: string;
}

const count = (number: number): string => number.toLocaleString("en-US");
const BUNDLE = `${count(MAX_ENTRIES)} secrets, ${count(MAX_BUNDLE_SIZE)} bytes`;
const AT_START = "at the guest's next start";
const SHARE_GUEST = "root, which has the key; whom the modes let where it is plain";
const SHARE_FRESH = "within 2 s by the agent, at once for who reads plain files";
const SHARE_LOST = "nothing by the agent; without one owners by name, variables, links, reactions";
const FIRMWARE_HOST = "whoever can read the file while it is there; none for vm launch, which has it in memory";

const CLAIMED =
  "the first process that claims them in each boot: start the agent first, or have it enrol; a later one raises an alarm";

/** In the order in which one is chosen. */
export const WAYS: readonly Way[] = [
  {
    name: "virtio-serial",
    built: true,
    how: "a port of virtio-serial, whose host end is a unix socket of the VM",
    limits: BUNDLE,
    guestReaders: "root: only it can open the device",
    hostReaders: "the VM's runner",
    fresh: "at once",
    lost: "nothing",
    needs: "the agent; virtio_console",
  },
  {
    name: "vsock",
    built: true,
    how: "hybrid vsock: a connection to the host's port 5107 arrives at a unix socket of the VM",
    limits: BUNDLE,
    guestReaders: CLAIMED,
    hostReaders: "the VM's runner",
    fresh: "at once",
    lost: "nothing",
    needs: "the agent; vmw_vsock_virtio_transport",
  },
  {
    name: "af-vsock",
    built: true,
    how: "AF_VSOCK of the host's kernel, port 5107: the VM is known by its CID, while the process is seen that has it",
    limits: BUNDLE,
    guestReaders: CLAIMED,
    hostReaders: "whoever may open /dev/vhost-vsock and takes its CID while the VM's process is seen and has not",
    fresh: "at once",
    lost: "nothing",
    needs: "the agent; vmw_vsock_virtio_transport; on the host vhost_vsock",
  },
  {
    name: "fw-cfg",
    built: true,
    how: "files of QEMU's fw_cfg: one bundle for the agent, or a credential for each secret for systemd",
    limits: `${count(MAX_CREDENTIALS)} bytes; for systemd ${MAX_FILES} secrets, names of ${MAX_CREDENTIAL_NAME} characters`,
    guestReaders: "root, for as long as the guest runs",
    hostReaders: FIRMWARE_HOST,
    fresh: AT_START,
    lost: "for systemd modes, owners, paths, variables, links, reactions",
    needs: "qemu_fw_cfg; the agent, or systemd 251",
  },
  {
    name: "smbios",
    built: true,
    how: "strings of SMBIOS type 11: one bundle for the agent, or a credential for each secret for systemd",
    limits: `${count(MAX_STRING_BYTES)} bytes of strings, less from 16 GiB of memory on; for systemd ${MAX_STRINGS} secrets`,
    guestReaders: "root, for as long as the guest runs",
    hostReaders: FIRMWARE_HOST,
    fresh: AT_START,
    lost: "for systemd modes, owners, paths, variables, links, reactions",
    needs: "the agent, or systemd 252",
  },
  {
    name: "disk",
    built: true,
    how: "a read-only image, EROFS, SquashFS or ISO 9660, that image build writes and the VMM attaches",
    limits: BUNDLE,
    guestReaders: "whom the modes in the image let, and whoever may read the block device",
    hostReaders: "whoever can read the image, unless it is sealed",
    fresh: AT_START,
    lost: "owners by name, variables, links, reactions",
    needs: "a mount of the image; erofs, squashfs or isofs",
  },
  {
    name: "9p",
    built: true,
    how: "a folder that QEMU shows the guest: one sealed file, or plain files",
    limits: BUNDLE,
    guestReaders: SHARE_GUEST,
    hostReaders: "the VM's runner where it is plain, and nobody where it is sealed",
    fresh: SHARE_FRESH,
    lost: SHARE_LOST,
    needs: "9pnet_virtio and 9p, which Debian's cloud kernel has not; the agent, unless it is plain",
  },
  {
    name: "virtiofs",
    built: true,
    how: "the same by virtiofsd, a process of its own for each VM",
    limits: BUNDLE,
    guestReaders: SHARE_GUEST,
    hostReaders: "nobody: virtiofsd runs as root, and shows it to the VM alone",
    fresh: SHARE_FRESH,
    lost: SHARE_LOST,
    needs: "fuse and virtiofs, Linux 5.4; the agent, unless it is plain",
  },
  {
    name: "smb",
    built: true,
    how: "the same by QEMU's own SMB server, in a network that leads nowhere else",
    limits: BUNDLE,
    guestReaders: "root, which has the key; every process where it is plain, which has to be allowed",
    hostReaders: "the VM's runner where it is plain, and nobody where it is sealed",
    fresh: "within 5 s by the agent",
    lost: "nothing by the agent; modes and owners of plain files",
    needs: "virtio_net and cifs; the agent, unless it is plain",
  },
  {
    name: "share",
    built: true,
    how: "the same folder over a network, by an SMB, NFS or SSHFS server of your own",
    limits: BUNDLE,
    guestReaders: "whoever has the key; all of the guest and perhaps others where it is plain, which has to be allowed",
    hostReaders: "whoever can read the folder where it is plain; the network sees what is not sealed",
    fresh: "within 2 s, and what the client remembers of files",
    lost: "by SMB modes and owners of a plain one",
    needs: "cifs, nfs or sshfs; the agent, unless it is plain",
  },
  {
    name: "sealed",
    built: true,
    how: "the bundle, encrypted to an age key, in any image or over any wire; its key goes another way",
    limits: BUNDLE,
    guestReaders: "whoever has the key",
    hostReaders: "whoever has the key",
    fresh: "when it is made and brought again",
    lost: "nothing",
    needs: "the agent, or age and tar, and the key",
  },
  {
    name: "ssh",
    built: true,
    how: "the guest's ssh client runs the one command that the host's sshd has for its key",
    limits: BUNDLE,
    guestReaders: "whoever has the key, which must be root's alone",
    hostReaders: "the VM's runner, and whoever can be it by another key of his",
    fresh: "at once",
    lost: "nothing",
    needs: "the agent, OpenSSH's client, a key, and a network to the host",
  },
  {
    name: "push",
    built: true,
    how: "hatchway push unpacks the files into memory of a running guest, by ssh into it",
    limits: BUNDLE,
    guestReaders: "whom the files' modes let",
    hostReaders: "nobody else",
    fresh: "when it is pushed again",
    lost: "variables, links, reactions",
    needs: "sshd, sh, tar and mount, and a login as root; no agent",
  },
  {
    name: "tcp",
    built: true,
    how: "TLS 1.3 over a network, with a certificate for each VM that hatchway pki issues (guest-listen in config.yaml)",
    limits: BUNDLE,
    guestReaders: "root: only it can read the certificate's key",
    hostReaders: "whoever has the authority's key, or a copy of the VM's",
    fresh: "at once",
    lost: "nothing",
    needs: "the agent; a network that leads to the host; its certificate's file",
  },
];

/** Its row in docs/channels.md. */
export function wayRow({ name, built, how, limits, guestReaders, hostReaders, fresh, lost }: Way): string {
  if (!built) return `| \`${name}\` | ${how} | not in this version | | | | |`;
  return `| \`${name}\` | ${[how, limits, guestReaders, hostReaders, fresh, lost].join(" | ")} |`;
}
