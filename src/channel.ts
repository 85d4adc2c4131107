import type { Duplex } from "node:stream";
import type { Bundle } from "#bundle";
import type { Manifest } from "#protocol/manifest";
import type { Runner } from "#vm";
import type { FirmwareItem } from "#vmm";

/**
 * A live way into a guest: a place on the host that one VM's agent can reach, and nobody else. The place proves which
 * VM asks; what comes over it proves nothing.
 */
export interface LiveChannel {
  readonly kind: ChannelKind;
  /**
   * Binds the place for `vm` and hands over each byte stream that the guest opens. Called while the folder is closed to
   * the runner (see #channel/folder). Throws HatchwayError "invalid" for a path that no socket can have.
   */
  listen(vm: ChannelVm, accept: Accept): Promise<Listener>;
}

/**
 * A way into a guest that is there from its boot on, and brings nothing new after. What it carries is in the machine's
 * firmware, where only root of the guest can read it, at any time.
 */
export interface BootChannel {
  readonly kind: "smbios" | "fw-cfg";
  /**
   * Refuses what this way can't carry, as far as that is known without opening a value. Throws HatchwayError
   * "too-large", or "invalid" for a name; both say the limit and a way out.
   */
  check(manifest: Manifest, guest: BootGuest): void;
  /**
   * Opens the values of `bundle`, audited as disclosed, and gives what the firmware is to show; the caller wipes it.
   * Throws as `check` does; nothing is left open then.
   */
  compose(bundle: Bundle, guest: BootGuest): Promise<Composed>;
  /** What is bounded, how much of it the bundle would take, and how much there is; whether it fits says `check`. */
  measure(manifest: Manifest, guest: BootGuest): Measure[];
}

/** `what`: "bytes", "secrets", "characters of a name". */
export interface Measure {
  what: string;
  size: number;
  limit: number;
}

/** What a guest makes of its firmware's words. */
export interface BootGuest {
  /** systemd takes one credential for each secret (systemd.system-credentials(7)); the agent takes all as one. */
  reader: "systemd" | "agent";
  memoryMiB: number;
  /** Names that systemd itself acts on, some of them as code of root, are meant. */
  allowReserved: boolean;
}

export interface Composed {
  items: FirmwareItem[];
  /** What the bundle says and this way does not bring. */
  lost: readonly Loss[];
}

/** All are root's and 0400 there, and named by the secret, not by its path; no variable, link, or word of what to do. */
export type Loss = "owners" | "modes" | "paths" | "variables" | "links" | "reactions" | "changes";

export type ChannelKind = "vsock" | "virtio-serial" | "ssh";

export interface ChannelVm {
  id: string;
  runner: Runner;
  /** Absolute path of the folder that holds the VM's sockets. */
  directory: string;
}

/** What a channel knows of a stream. */
export interface GuestIdentity {
  vmId: string;
  channel: ChannelKind | "tcp" | "af-vsock";
  /** Only the guest's root can have opened it. */
  rootOnly: boolean;
}

/** Of a stream that came by a socket of this host. */
export interface LocalIdentity extends GuestIdentity {
  channel: ChannelKind | "af-vsock";
  /** The process that brought the stream: the VMM, or one of its devices. */
  pid: number;
}

/** Serves one stream of bytes until either end closes it. */
export type Accept = (stream: Duplex, identity: LocalIdentity) => void;

export interface Listener {
  kind: ChannelKind;
  /** What the VMM is told: for vsock the path without `_5107`. */
  path: string;
  close(): Promise<void>;
}

/** The port of the guest API, on vsock and in the names of hybrid sockets. */
export const GUEST_PORT = 5107;
