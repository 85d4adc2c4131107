import { HatchwayError } from "#error";
import { fcntl, lastError } from "#host/libc";

/** Of fcntl(2), on x86-64 and arm64. */
const F_SETSIG = 10;
const F_SETLEASE = 1024;
const F_RDLCK = 0;
/** Of signal(7) there; a process that does nothing about it does not notice it. */
const SIGURG = 23;

/** What a file system without leases, or a file of another user without CAP_LEASE, answers. */
const WITHOUT_LEASES = new Set(["EINVAL", "EACCES", "EPERM", "ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "ENODEV"]);

/**
 * Takes a read lease on a file that is open for reading (fcntl(2), "Leases"): `written` where anybody has it open for
 * writing. As long as `held`, whoever opens it to write or truncates it waits; it ends when `fd` is closed, and after
 * /proc/sys/fs/lease-break-time at the latest. The kernel tells of such a one by SIGIO, which would end this process: it
 * is asked for SIGURG instead, anew each time, since it forgets that with the lease.
 */
export function takeReadLease(fd: number): "held" | "written" | "unsupported" {
  if (fcntl(fd, F_SETSIG, "int", SIGURG) !== 0) return problem("F_SETSIG");
  return fcntl(fd, F_SETLEASE, "int", F_RDLCK) === 0 ? "held" : problem("F_SETLEASE");
}

function problem(call: string): "written" | "unsupported" {
  const name = lastError();
  if (name === "EAGAIN" || name === "EWOULDBLOCK") return "written";
  if (WITHOUT_LEASES.has(name)) return "unsupported";
  throw new HatchwayError("unavailable", `cannot take a lease: ${call}: ${name}`);
}
