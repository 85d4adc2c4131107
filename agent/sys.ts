// The agent's whole view of the machine: some forty system calls, synchronous, by descriptor. One implementation is C
// under QuickJS (platform/quickjs.ts), one is libc under Node (platform/node.ts, for tests); the rest of the agent is
// the same source on both.
//
// Every call throws SysError when the kernel refuses. Waiting is `poll` alone: streams are non-blocking.

/** A descriptor. */
export type Fd = number;

/** openat(2): paths are relative to the working directory, absolute ones stand for themselves. */
export const HERE: Fd = -100;

/** poll(2) */
export const POLLIN = 1;
export const POLLOUT = 4;
export const POLLERR = 8;
export const POLLHUP = 16;
/** renameat2(2) */
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
/** openat2(2) */
export const RESOLVE_NO_XDEV = 1;
export const RESOLVE_NO_SYMLINKS = 4;
export const RESOLVE_BENEATH = 8;
/** mount(2) */
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
/** The bits of `takeSignals`: SIGTERM or SIGINT, and SIGHUP. */
export const ASKED_TO_STOP = 1;
export const ASKED_TO_SYNC = 2;

/** openat's flags; their numbers differ between architectures. Close-on-exec is always set. */
export interface OpenFlags {
  readonly O_RDONLY: number;
  readonly O_WRONLY: number;
  readonly O_RDWR: number;
  readonly O_CREAT: number;
  readonly O_EXCL: number;
  readonly O_TRUNC: number;
  readonly O_NONBLOCK: number;
  readonly O_NOFOLLOW: number;
  readonly O_DIRECTORY: number;
  readonly O_PATH: number;
}

export interface Stat {
  /** File type and permission bits, as in st_mode. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes. */
  size: number;
  links: number;
  /** Seconds since 1970. */
  mtime: number;
  /** Its number on its file system; on tmpfs it fits. */
  inode: number;
}

export interface Sys extends OpenFlags {
  openat(dir: Fd, path: string, flags: number, mode?: number): Fd;
  openat2(dir: Fd, path: string, flags: number, mode: number, resolve: number): Fd;
  /** Bytes read; 0 at the end. */
  read(fd: Fd, into: Uint8Array): number;
  /** Bytes written, perhaps fewer than asked. */
  write(fd: Fd, bytes: Uint8Array): number;
  close(fd: Fd): void;
  fstat(fd: Fd): Stat;
  /** Does not follow a symlink. */
  fstatat(dir: Fd, path: string): Stat;
  readdir(fd: Fd): string[];
  readlinkat(dir: Fd, path: string): string;
  mkdirat(dir: Fd, path: string, mode: number): void;
  linkat(fromDir: Fd, from: string, toDir: Fd, to: string): void;
  symlinkat(target: string, dir: Fd, path: string): void;
  unlinkat(dir: Fd, path: string, directory: boolean): void;
  renameat(fromDir: Fd, from: string, toDir: Fd, to: string, flags: number): void;
  fchown(fd: Fd, uid: number, gid: number): void;
  fchmod(fd: Fd, mode: number): void;
  /** Sets both times, in seconds since 1970. */
  futimens(fd: Fd, seconds: number): void;
  /** Takes the exclusive lock; false when another has it. Never waits. */
  flock(fd: Fd): boolean;
  /** Whether nobody else has this regular file open: a write lease is given (fcntl(2), F_SETLEASE), until close. */
  lease(fd: Fd): boolean;
  mount(type: string, target: string, flags: number, options: string): void;
  /**
   * Mounts a device, a path, read-only, nodev, nosuid and noexec, at no place that anybody could find: the descriptor of
   * its root is all there is of it (fsopen(2), fsmount(2)).
   */
  mountPrivate(type: string, device: string): Fd;
  getrandom(into: Uint8Array): void;
  /** Zeroes bytes that held a value. */
  wipe(bytes: Uint8Array): void;

  /**
   * Waits for `events` on `fd` (-1: for the time alone). The events that came, 0 when none did; it may return 0 early.
   * Throws EINTR while a caught signal waits to be taken.
   */
  poll(fd: Fd, events: number, timeoutMs: number): number;
  /** Throws EAGAIN while the listener's backlog is full. */
  connectUnix(path: string, timeoutMs: number): Fd;
  /** Throws EPERM while HATCHWAY_NO_AF_VSOCK=1 is in the environment. */
  connectVsock(cid: number, port: number, timeoutMs: number): Fd;
  /** A name is looked up first, which takes 10 s at most beyond the time; EHOSTUNREACH where there is none. */
  connectTcp(host: string, port: number, timeoutMs: number): Fd;
  /**
   * TLS 1.3 to a host over a connected socket, which stays its opener's; one at a time. `own` is this side's certificate
   * and key, `authorities` what the host's certificate must come from, all in PEM; `host` a name that it must be for.
   * Of this and the next three, EAGAIN means "again when it can be read", EINPROGRESS "when it can be written", EPROTO
   * "see `tlsProblem`".
   */
  tlsOpen(fd: Fd, host: string, own: Uint8Array, authorities: Uint8Array): void;
  tlsHandshake(): void;
  /** Bytes read; 0 at the end, agreed on or not. */
  tlsRead(into: Uint8Array): number;
  /** Bytes written, perhaps fewer; after EINPROGRESS it must be called with the same. */
  tlsWrite(bytes: Uint8Array): number;
  tlsProblem(): TlsProblem;
  /** Wipes and frees all that TLS held; also where nothing is open. */
  tlsClose(): void;
  /** Sends one datagram to a unix socket; a leading "@" names an abstract one. */
  datagram(address: string, bytes: Uint8Array): void;

  /** Listens at a path where nothing is yet, mode 0600 from the first moment. */
  listenUnix(path: string): Fd;
  /** Throws EAGAIN when nobody waits, ECONNABORTED when he has gone. */
  accept(listener: Fd): Fd;
  /** The process that connected, and its user, as they were then; pid 0: of another pid namespace. */
  peer(fd: Fd): { pid: number; uid: number };
  /** The bytes of the address that the other end is bound to, an abstract one with its leading NUL; none: unbound. */
  peerName(fd: Fd): Uint8Array;
  /** Becomes readable when something is renamed to a name in this folder; drained by `read`. */
  watch(path: string): Fd;
  /** Waits, for ever, until one of 1 to 8 descriptors can be read or has ended: its index. Throws EINTR as `poll` does. */
  awaitAny(fds: readonly Fd[]): number;

  /**
   * Runs `argv[0]`, a path, with `env` alone, its input /dev/null, its output our stderr, its signals reset, and waits; past the time its process
   * group is killed and ETIMEDOUT thrown. Exit code 0 to 255, or 256 + signal.
   */
  run(argv: readonly Uint8Array[], env: readonly Uint8Array[], timeoutMs: number): number;
  /**
   * Starts `argv[0]`, a path, with `env` alone, in a session of its own, and does not wait for it: the stream, non-blocking,
   * that is its input and output. Its stderr is ours. It ends by itself when it sees the end of its input.
   */
  spawn(argv: readonly Uint8Array[], env: readonly Uint8Array[]): Fd;
  /** Becomes another program; returns only by throwing. Strings with a value are wiped from memory when it fails. */
  execve(path: string, argv: readonly Uint8Array[], env: readonly Uint8Array[]): never;
  kill(pid: number, signal: number): void;
  getpid(): number;
  geteuid(): number;
  /** The command line after the program's name. */
  args(): Uint8Array[];
  /** Each `NAME=value`. */
  environment(): Uint8Array[];
  /** From now on SIGTERM, SIGINT and SIGHUP are kept for `takeSignals`, and interrupt `poll`. */
  catchSignals(): void;
  /** ASKED_… bits of the signals since the last call. */
  takeSignals(): number;
  /** Milliseconds of CLOCK_MONOTONIC. */
  monotonic(): number;
  exit(code: number): never;
}

/** What was wrong last, in numbers of Mbed TLS; `alert` is the host's (RFC 8446, section 6), -1 where there was none. */
export interface TlsProblem {
  error: number;
  /** Of the check of the host's certificate. */
  findings: number;
  alert: number;
}

/** What the kernel refused, and why: `code` is the errno's name, such as "ENOENT". */
export class SysError extends Error {
  override readonly name = "SysError";
  readonly call: string;
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = ERRNO[errno] ?? `errno ${errno}`;
    super(`${call}: ${REASONS[code] ?? code}`);
    this.call = call;
    this.code = code;
  }
}

/** Whether `error` is the kernel's refusal for one of these reasons. */
export function failedWith(error: unknown, ...codes: string[]): error is SysError {
  return error instanceof SysError && codes.includes(error.code);
}

/** asm-generic/errno: the same numbers on x86-64 and arm64. */
const ERRNO: Record<number, string> = {
  1: "EPERM",
  2: "ENOENT",
  3: "ESRCH",
  4: "EINTR",
  5: "EIO",
  6: "ENXIO",
  9: "EBADF",
  11: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  16: "EBUSY",
  17: "EEXIST",
  18: "EXDEV",
  19: "ENODEV",
  20: "ENOTDIR",
  21: "EISDIR",
  22: "EINVAL",
  23: "ENFILE",
  24: "EMFILE",
  26: "ETXTBSY",
  27: "EFBIG",
  28: "ENOSPC",
  30: "EROFS",
  31: "EMLINK",
  32: "EPIPE",
  36: "ENAMETOOLONG",
  38: "ENOSYS",
  39: "ENOTEMPTY",
  40: "ELOOP",
  71: "EPROTO",
  95: "EOPNOTSUPP",
  97: "EAFNOSUPPORT",
  101: "ENETUNREACH",
  103: "ECONNABORTED",
  104: "ECONNRESET",
  107: "ENOTCONN",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  113: "EHOSTUNREACH",
  115: "EINPROGRESS",
  117: "EUCLEAN",
  123: "ENOMEDIUM",
};

const REASONS: Record<string, string> = {
  EPERM: "operation not permitted",
  ENOENT: "no such file",
  EACCES: "permission denied",
  EBUSY: "already in use",
  EEXIST: "already exists",
  ENOTDIR: "not a directory",
  ELOOP: "a symlink is in the way",
  ENOSPC: "no space left",
  EROFS: "read-only file system",
  ENODEV: "no such device",
  EAGAIN: "not ready",
  EMFILE: "too many open files",
  EAFNOSUPPORT: "not supported by this kernel",
  ECONNREFUSED: "connection refused",
  EHOSTUNREACH: "no such host, or no way to it",
  ENETUNREACH: "no network leads there",
  ECONNRESET: "connection reset",
  EPIPE: "connection closed",
  ETIMEDOUT: "timed out",
  EUCLEAN: "its file system is damaged",
  ENOMEDIUM: "no medium",
  EIO: "input or output error",
};
