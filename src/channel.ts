import type { Duplex } from "node:stream";
import type { Runner } from "#vm";

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

export type ChannelKind = "vsock" | "virtio-serial";

export interface ChannelVm {
  id: string;
  runner: Runner;
  /** Absolute path of the folder that holds the VM's sockets. */
  directory: string;
}

/** What a channel knows of a stream. */
export interface GuestIdentity {
  vmId: string;
  channel: ChannelKind;
  /** Only the guest's root can have opened it. */
  rootOnly: boolean;
  /** The process that brought the stream: the VMM, or one of its devices. */
  pid: number;
}

/** Serves one stream of bytes until either end closes it. */
export type Accept = (stream: Duplex, identity: GuestIdentity) => void;

export interface Listener {
  kind: ChannelKind;
  /** What the VMM is told: for vsock the path without `_5107`. */
  path: string;
  close(): Promise<void>;
}

/** The port of the guest API, on vsock and in the names of hybrid sockets. */
export const GUEST_PORT = 5107;
