// The few calls of the C library that Node does not have. Layouts are those of glibc on 64-bit Linux; both
// architectures that Hatchway runs on share them.
import koffi from "koffi";
import { HatchwayError } from "#error";

const libc = koffi.load("libc.so.6");

/** SOL_SOCKET, SO_PEERCRED and SO_PEERGROUPS of socket(7) and unix(7), on x86-64 and arm64. */
export const SOL_SOCKET = 1;
export const SO_PEERCRED = 17;
export const SO_PEERGROUPS = 59;

type Getsockopt = (fd: number, level: number, option: number, value: Uint8Array, length: Uint32Array) => number;
export const getsockopt: Getsockopt = libc.func(
  "int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)",
);

type Fcntl = (fd: number, command: number, type: "int", argument: number) => number;
export const fcntl: Fcntl = libc.func("int fcntl(int fd, int command, ...)");
type Socket = (domain: number, type: number, protocol: number) => number;
/** socket(2). */
export const socket: Socket = libc.func("int socket(int domain, int type, int protocol)");

type Sendto = (
  fd: number,
  bytes: Uint8Array,
  size: number,
  flags: number,
  address: Uint8Array,
  length: number,
) => number | bigint;
/** send(2). */
export const sendto: Sendto = libc.func(
  "int64_t sendto(int fd, const uint8_t *bytes, size_t size, int flags, const uint8_t *address, uint32_t length)",
);

type Prctl = (option: number, value: bigint, zero3: bigint, zero4: bigint, zero5: bigint) => number;
const prctl: Prctl = libc.func(
  "int prctl(int option, unsigned long arg2, unsigned long arg3, unsigned long arg4, unsigned long arg5)",
);
const PR_SET_DUMPABLE = 4;

/**
 * From now on this process leaves no core file, and no other process of its user can read its memory or attach to it
 * (PR_SET_DUMPABLE of prctl(2)).
 */
export function hideMemory(): void {
  if (prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n) === 0) return;
  throw new HatchwayError("unsupported", `cannot keep this process out of core files: ${lastError()}`);
}

const exitNow: (status: number) => void = libc.func("void _exit(int status)");

/**
 * Ends this process without the exit handlers of the libraries in it (_exit(2)): koffi's sync the standard streams, and
 * wait for themselves for ever where the disk of one of these fails.
 */
export function endAtOnce(status: number): void {
  exitNow(status);
}

type Flock = (fd: number, operation: number) => number;
const flock: Flock = libc.func("int flock(int fd, int operation)");
const LOCK_EX = 2;
const LOCK_NB = 4;

/** Takes the lock of an open file (flock(2)), until it is closed; false while another holds it. */
export function tryLock(fd: number): boolean {
  if (flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const error = lastError();
  if (error === "EWOULDBLOCK" || error === "EAGAIN") return false;
  throw new HatchwayError("unsupported", `cannot lock a file: ${error}`);
}

/** `errno` after the call before, as text. */
export function lastError(): string {
  const number = koffi.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === number)?.[0];
  return name ?? `errno ${number}`;
}
