/** Who asks. The first parameter of every operation of the vault; there is no ambient identity. */
export type Caller =
  /** A process on a unix socket, as the kernel names it (SO_PEERCRED, unix(7)). */
  | { kind: "unix"; uid: number; gid: number; pid: number; groups?: readonly number[] }
  /** Whoever sent a bearer token of the configuration. */
  | { kind: "token"; id: string }
  /** Whoever holds the key of a client certificate that our authority signed; `name` is its subject's common name. */
  | { kind: "certificate"; name: string; serial: string }
  /** Somebody at a network address whom nothing identifies; may do nothing. */
  | { kind: "stranger"; address: string }
  /** Code that opened the store itself, in its own process: the embedded mode and the daemon's own work. */
  | { kind: "embedded"; uid: number; purpose: string }
  /** A file of the folder of plain secrets, at that absolute path, which somebody changed by hand. */
  | { kind: "folder"; path: string }
  /** The user that runs one VM, on that VM's control socket. */
  | { kind: "runner"; uid: number; vmId: string }
  /** A guest, as the socket proves it; `proven` once its process has shown that it may fetch (claim or root-only device). */
  | { kind: "vm"; vmId: string; channel: string; proven: boolean };

/** How a caller stands in the audit trail. */
export function describeCaller(caller: Caller): string {
  switch (caller.kind) {
    case "unix":
      return `unix:uid=${caller.uid},gid=${caller.gid},pid=${caller.pid}`;
    case "token":
      return `token:${caller.id}`;
    case "certificate":
      return `certificate:${caller.name},serial=${caller.serial}`;
    case "stranger":
      return `stranger:${caller.address}`;
    case "embedded":
      return `embedded:uid=${caller.uid},${caller.purpose}`;
    case "folder":
      return `file:${caller.path}`;
    case "runner":
      return `runner:uid=${caller.uid},vm=${caller.vmId}`;
    case "vm":
      return `vm:${caller.vmId},${caller.channel}`;
  }
}
