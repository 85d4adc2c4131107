import type { Socket } from "node:net";
import { HatchwayError } from "#error";
import { getsockopt, lastError, SO_PEERCRED, SO_PEERGROUPS, SOL_SOCKET } from "#host/libc";

/** `struct ucred` of unix(7): who made the connection, as the kernel saw it at connect(2). */
export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
}

/**
 * Who is at the other end of a connected unix socket. Throws HatchwayError "internal" for anything that is not one:
 * a caller that cannot be named is not served.
 */
export function peerCredentials(fd: number): PeerCredentials {
  const ucred = Buffer.alloc(12);
  const length = new Uint32Array([ucred.length]);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred, length) !== 0 || length[0] !== ucred.length) {
    throw new HatchwayError("internal", `cannot read the peer credentials of fd ${fd}: ${lastError()}`);
  }
  // The kernel answers for TCP as well: pid 0 and both ids -1.
  const pid = ucred.readInt32LE(0);
  if (pid === 0) throw new HatchwayError("internal", `fd ${fd} is not a unix socket with a peer`);
  return { pid, uid: ucred.readUInt32LE(4), gid: ucred.readUInt32LE(8) };
}

/** Groups that a process can be in (NGROUPS_MAX of limits.h), and those that there is room for at first. */
const MOST_GROUPS = 65_536;
const SOME_GROUPS = 64;

/** The further groups of who is at the other end of a connected unix socket, as they were at connect(2). */
export function peerGroups(fd: number): number[] {
  for (const room of [SOME_GROUPS, MOST_GROUPS]) {
    const groups = Buffer.alloc(4 * room);
    const length = new Uint32Array([groups.length]);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, length) === 0) {
      return Array.from({ length: (length[0] ?? 0) / 4 }, (_, at) => groups.readUInt32LE(4 * at));
    }
  }
  throw new HatchwayError("internal", `cannot read the peer's groups of fd ${fd}: ${lastError()}`);
}

/** The descriptor of an open socket. Node has no public name for it. */
export function descriptorOf(socket: Socket): number {
  const handle = Reflect.get(socket, "_handle") as { fd?: number } | null | undefined;
  const fd = handle?.fd;
  if (fd === undefined || fd < 0) throw new HatchwayError("internal", "the connection is closed already");
  return fd;
}
