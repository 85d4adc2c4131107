// Sys over libc under Node, so that tests run the agent's sources without compiling them. It blocks its thread as the
// compiled agent does; node-main.ts therefore runs it in a worker, and the main thread takes the signals.
import { spawn, spawnSync } from "node:child_process";
import { closeSync, constants, fstatSync, lstatSync, readdirSync, readlinkSync, writeSync, type Stats } from "node:fs";
import koffi from "koffi";
import { ask, check, statOf, TAKEN } from "#agent/platform/check";
import { HERE, POLLIN, POLLOUT, SysError, type Fd, type Stat, type Sys } from "#agent/sys";
import { decodeUtf8 } from "#agent/text";

/** What the main thread shares with the one that runs the agent. */
export interface Signals {
  /** [bits that wait to be taken, whether they are asked for] */
  state: Int32Array;
  /** A pipe that holds a byte for each signal that came. */
  wake: Fd;
}

const EINTR = 4;
const EPERM = 1;
const ENOENT = 2;
const EAGAIN = 11;
const EINPROGRESS = 115;
const EOPNOTSUPP = 95;
const ETIMEDOUT = 110;
const ENAMETOOLONG = 36;
const AF_UNIX = 1;
const AF_VSOCK = 40;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const O_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
const SO_PEERCRED = 17;
const BACKLOG = 64;
const IN_MOVED_TO = 0x80;
const IN_ONLYDIR = 0x01000000;
const IN_DONT_FOLLOW = 0x02000000;
const LOCK_EX_NB = 6;
const F_SETFD = 2;
const F_SETFL = 4;
const F_SETLEASE = 1024;
const F_WRLCK = 1;
const AT_REMOVEDIR = 0x200;
const SIGPIPE = 13;
const SIGIO = 29;
const SIG_DFL = 0;
const SIG_IGN = 1;
const SYS_OPENAT2 = 437;
const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
/** fsconfig(2): FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE */
const [SET_FLAG, SET_STRING, CREATE] = [0, 1, 6];
/** fsmount(2): MOUNT_ATTR_RDONLY, _NOSUID, _NODEV, _NOEXEC */
const READ_ONLY_AND_INERT = 15;
const FS_CLOEXEC = 1;

const libc = koffi.load("libc.so.6");
const c = {
  openat: libc.func("int openat(int, const char *, int, int)"),
  read: libc.func("long read(int, void *, size_t)"),
  write: libc.func("long write(int, const void *, size_t)"),
  mkdirat: libc.func("int mkdirat(int, const char *, int)"),
  linkat: libc.func("int linkat(int, const char *, int, const char *, int)"),
  symlinkat: libc.func("int symlinkat(const char *, int, const char *)"),
  unlinkat: libc.func("int unlinkat(int, const char *, int)"),
  renameat2: libc.func("int renameat2(int, const char *, int, const char *, int)"),
  syscall: libc.func("long syscall(long, int, const char *, const void *, size_t)"),
  fsopen: libc.func("syscall", "long", ["long", "str", "int"]),
  fsconfig: libc.func("syscall", "long", ["long", "int", "int", "str", "str", "int"]),
  fsmount: libc.func("syscall", "long", ["long", "int", "int", "int"]),
  fchown: libc.func("int fchown(int, int, int)"),
  fchmod: libc.func("int fchmod(int, int)"),
  futimens: libc.func("int futimens(int, const void *)"),
  flock: libc.func("int flock(int, int)"),
  fcntl: libc.func("int fcntl(int, int, int)"),
  mount: libc.func("int mount(const char *, const char *, const char *, long, const char *)"),
  getrandom: libc.func("long getrandom(void *, size_t, int)"),
  poll: libc.func("int poll(void *, long, int)"),
  socket: libc.func("int socket(int, int, int)"),
  connect: libc.func("int connect(int, const void *, int)"),
  bind: libc.func("int bind(int, const void *, int)"),
  listen: libc.func("int listen(int, int)"),
  accept4: libc.func("int accept4(int, void *, void *, int)"),
  getpeername: libc.func("int getpeername(int, void *, void *)"),
  umask: libc.func("int umask(int)"),
  inotify_init1: libc.func("int inotify_init1(int)"),
  inotify_add_watch: libc.func("int inotify_add_watch(int, const char *, uint32_t)"),
  sendto: libc.func("long sendto(int, const void *, size_t, int, const void *, int)"),
  getsockopt: libc.func("int getsockopt(int, int, int, void *, void *)"),
  execve: libc.func("int execve(const char *, const char **, const char **)"),
  kill: libc.func("int kill(int, int)"),
  socketpair: libc.func("int socketpair(int, int, int, void *)"),
  signal: libc.func("intptr_t signal(int, intptr_t)"),
};

type Call = (...words: unknown[]) => number;

/** The call's result, or -errno. */
function raw(call: Call, ...words: unknown[]): number {
  for (;;) {
    const result = call(...words);
    if (result >= 0) return result;
    const errno = koffi.errno();
    if (errno !== EINTR) return -errno;
  }
}

/** The path of a name below a held directory, for Node's own calls. */
function pathOf(dir: Fd, path: string): string {
  return path.startsWith("/") || dir === HERE ? path : `/proc/self/fd/${dir}/${path}`;
}

/** Node's errors as the kernel's. */
function node<T>(call: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    const errno = (error as { errno?: number }).errno;
    if (typeof errno !== "number") throw error;
    throw new SysError(call, -errno);
  }
}

function statFrom({ mode, uid, gid, size, nlink, mtimeMs, ino }: Stats): Stat {
  return statOf([mode, uid, gid, size, nlink, Math.floor(mtimeMs / 1000), ino]);
}

function unixAddress(name: string): Buffer | undefined {
  const bytes = Buffer.from(name);
  if (bytes.length === 0 || bytes.length > 107) return undefined;
  const address = Buffer.alloc(2 + bytes.length + (name.startsWith("@") ? 0 : 1));
  address.writeUInt16LE(AF_UNIX, 0);
  address.set(bytes, 2);
  if (name.startsWith("@")) address[2] = 0;
  return address;
}

function mountPrivate(type: string, device: string): number {
  const context = raw(c.fsopen, SYS_FSOPEN, type, FS_CLOEXEC);
  if (context < 0) return context;
  const configure = (...words: unknown[]): number => raw(c.fsconfig, SYS_FSCONFIG, context, ...words, 0);
  const steps = [
    () => configure(SET_STRING, "source", device),
    () => configure(SET_FLAG, "ro", null),
    () => configure(CREATE, null, null),
    () => raw(c.fsmount, SYS_FSMOUNT, context, FS_CLOEXEC, READ_ONLY_AND_INERT),
  ];
  const result = steps.reduce((before, step) => (before < 0 ? before : step()), 0);
  closeSync(context);
  return result;
}

function environmentOf(lines: readonly string[]): NodeJS.ProcessEnv {
  return Object.fromEntries(lines.map((line) => line.split(/=(.*)/s, 2)));
}

function startProgram([file = "", ...rest]: readonly string[], env: readonly string[]): Fd {
  const ends = Buffer.alloc(8);
  check("socketpair", raw(c.socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
  const [ours, theirs] = [ends.readInt32LE(0), ends.readInt32LE(4)];
  const child = spawn(file, rest, { env: environmentOf(env), stdio: [theirs, theirs, 2], detached: true });
  child.unref();
  // That it could not be started is seen at once, by the missing pid.
  child.once("error", () => undefined);
  closeSync(theirs);
  if (child.pid === undefined) {
    closeSync(ours);
    throw new SysError(`execute ${file}`, ENOENT);
  }
  check("fcntl", raw(c.fcntl, ours, F_SETFL, SOCK_NONBLOCK));
  return ours;
}

/** Sys for this thread. */
export function nodeSys(args: readonly string[], signals: Signals): Sys {
  c.signal(SIGIO, SIG_IGN);

  /** The events that came to each; -errno. */
  const pollAll = (waited: readonly Fd[], events: number, timeoutMs: number): number | number[] => {
    if (Atomics.load(signals.state, 0) !== 0) return -EINTR;
    // struct pollfd: int fd; short events; short revents.
    const fds = Buffer.alloc(8 * (waited.length + 1));
    for (const [index, fd] of [...waited, signals.wake].entries()) {
      fds.writeInt32LE(fd, 8 * index);
      fds.writeInt16LE(index < waited.length ? events : POLLIN, 8 * index + 4);
    }
    const count = (c.poll as Call)(fds, waited.length + 1, timeoutMs);
    if (Atomics.load(signals.state, 0) !== 0) return -EINTR;
    if (count < 0 && koffi.errno() !== EINTR) return -koffi.errno();
    return waited.map((_, index) => (count < 0 ? 0 : fds.readInt16LE(8 * index + 6)));
  };

  const poll = (fd: Fd, events: number, timeoutMs: number): number => {
    const came = pollAll([fd], events, timeoutMs);
    return typeof came === "number" ? came : (came[0] ?? 0);
  };

  const connect = (family: number, address: Buffer, timeoutMs: number): number => {
    const fd = raw(c.socket, family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return fd;
    let result = raw(c.connect, fd, address, address.length);
    if (result === -EINPROGRESS) {
      const ready = poll(fd, POLLOUT, timeoutMs);
      const fault = Buffer.alloc(4);
      const size = Buffer.from([4, 0, 0, 0]);
      if (ready > 0) result = raw(c.getsockopt, fd, SOL_SOCKET, SO_ERROR, fault, size) || -fault.readInt32LE(0);
      else result = ready === 0 ? -ETIMEDOUT : ready;
    }
    if (result === 0) return fd;
    closeSync(fd);
    return result;
  };

  return {
    O_RDONLY: constants.O_RDONLY,
    O_WRONLY: constants.O_WRONLY,
    O_RDWR: constants.O_RDWR,
    O_CREAT: constants.O_CREAT,
    O_EXCL: constants.O_EXCL,
    O_TRUNC: constants.O_TRUNC,
    O_NONBLOCK: constants.O_NONBLOCK,
    O_NOFOLLOW: constants.O_NOFOLLOW,
    O_DIRECTORY: constants.O_DIRECTORY,
    O_PATH: 0o10000000,
    openat: (dir, path, flags, mode = 0) => check(`open ${path}`, raw(c.openat, dir, path, flags | O_CLOEXEC, mode)),
    openat2: (dir, path, flags, mode, resolve) => {
      const how = Buffer.alloc(24);
      how.writeBigUInt64LE(BigInt(flags | O_CLOEXEC), 0);
      how.writeBigUInt64LE(BigInt(mode), 8);
      how.writeBigUInt64LE(BigInt(resolve), 16);
      return check(`open ${path}`, raw(c.syscall, SYS_OPENAT2, dir, path, how, how.length));
    },
    read: (fd, into) => check("read", raw(c.read, fd, into, into.length)),
    write: (fd, bytes) => check("write", raw(c.write, fd, bytes, bytes.length)),
    close: (fd) => node("close", () => closeSync(fd)),
    fstat: (fd) => node("fstat", () => statFrom(fstatSync(fd))),
    fstatat: (dir, path) => node(`stat ${path}`, () => statFrom(lstatSync(pathOf(dir, path)))),
    readdir: (fd) => node("readdir", () => readdirSync(pathOf(fd, "."))),
    readlinkat: (dir, path) => node(`readlink ${path}`, () => readlinkSync(pathOf(dir, path))),
    mkdirat: (dir, path, mode) => void check(`mkdir ${path}`, raw(c.mkdirat, dir, path, mode)),
    linkat: (fromDir, from, toDir, to) => void check(`link ${to}`, raw(c.linkat, fromDir, from, toDir, to, 0)),
    symlinkat: (target, dir, path) => void check(`symlink ${path}`, raw(c.symlinkat, target, dir, path)),
    unlinkat: (dir, path, directory) =>
      void check(`unlink ${path}`, raw(c.unlinkat, dir, path, directory ? AT_REMOVEDIR : 0)),
    renameat: (fromDir, from, toDir, to, flags) =>
      void check(`rename ${from}`, raw(c.renameat2, fromDir, from, toDir, to, flags)),
    fchown: (fd, uid, gid) => void check("chown", raw(c.fchown, fd, uid, gid)),
    fchmod: (fd, mode) => void check("chmod", raw(c.fchmod, fd, mode)),
    futimens: (fd, seconds) => {
      const times = Buffer.alloc(32);
      times.writeBigInt64LE(BigInt(seconds), 0);
      times.writeBigInt64LE(BigInt(seconds), 16);
      check("futimens", raw(c.futimens, fd, times));
    },
    flock: (fd) => ask("flock", raw(c.flock, fd, LOCK_EX_NB), TAKEN),
    lease: (fd) => ask("lease", raw(c.fcntl, fd, F_SETLEASE, F_WRLCK), TAKEN),
    mount: (type, target, flags, options) =>
      void check(`mount ${target}`, raw(c.mount, "hatchway", target, type, flags, options)),
    mountPrivate: (type, device) => check("mount", mountPrivate(type, device)),
    getrandom: (into) => void check("getrandom", raw(c.getrandom, into, into.length, 0)),
    wipe: (bytes) => void bytes.fill(0),
    poll: (fd, events, timeoutMs) => check("poll", poll(fd, events, timeoutMs)),
    connectUnix: (path, timeoutMs) => {
      const address = unixAddress(path);
      return check(`connect ${path}`, address ? connect(AF_UNIX, address, timeoutMs) : -ENAMETOOLONG);
    },
    connectVsock: (cid, port, timeoutMs) => {
      const call = `connect vsock:${cid}:${port}`;
      if (process.env["HATCHWAY_NO_AF_VSOCK"] === "1") return check(call, -EPERM);
      // struct sockaddr_vm: family, reserved, port, cid, flags and zeros.
      const address = Buffer.alloc(16);
      address.writeUInt16LE(AF_VSOCK, 0);
      address.writeUInt32LE(port, 4);
      address.writeUInt32LE(cid, 8);
      return check(call, connect(AF_VSOCK, address, timeoutMs));
    },
    // Tests run what needs these with the compiled agent: TLS of Node waits in its event loop, and Sys in poll alone.
    connectTcp: (host) => check(`connect ${host}`, -EOPNOTSUPP),
    tlsOpen: () => void check("tls", -EOPNOTSUPP),
    tlsHandshake: () => void check("tls", -EOPNOTSUPP),
    tlsRead: () => check("tls read", -EOPNOTSUPP),
    tlsWrite: () => check("tls write", -EOPNOTSUPP),
    tlsProblem: () => ({ error: 0, findings: 0, alert: -1 }),
    tlsClose: () => undefined,
    datagram: (name, bytes) => {
      const address = unixAddress(name);
      const fd = check("socket", raw(c.socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      const sent = address ? raw(c.sendto, fd, bytes, bytes.length, 0, address, address.length) : -ENAMETOOLONG;
      closeSync(fd);
      check(`send to ${name}`, sent);
    },
    listenUnix: (path) => {
      const address = unixAddress(path);
      if (!address) return check(`listen on ${path}`, -ENAMETOOLONG);
      const fd = check("socket", raw(c.socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      const before = raw(c.umask, 0o177);
      const result = raw(c.bind, fd, address, address.length) || raw(c.listen, fd, BACKLOG);
      raw(c.umask, before);
      if (result < 0) closeSync(fd);
      check(`listen on ${path}`, result);
      return fd;
    },
    accept: (listener) => check("accept", raw(c.accept4, listener, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK)),
    peer: (fd) => {
      // struct ucred: int pid; unsigned uid, gid.
      const ucred = Buffer.alloc(12);
      check("peer", raw(c.getsockopt, fd, SOL_SOCKET, SO_PEERCRED, ucred, Buffer.from([12, 0, 0, 0])));
      return { pid: ucred.readInt32LE(0), uid: ucred.readUInt32LE(4) };
    },
    peerName: (fd) => {
      const address = Buffer.alloc(110);
      const size = Buffer.from([110, 0, 0, 0]);
      check("getpeername", raw(c.getpeername, fd, address, size));
      return address.subarray(2, Math.max(size.readInt32LE(0), 2));
    },
    watch: (path) => {
      const fd = check("inotify", raw(c.inotify_init1, O_CLOEXEC | SOCK_NONBLOCK));
      const added = raw(c.inotify_add_watch, fd, path, IN_MOVED_TO | IN_ONLYDIR | IN_DONT_FOLLOW);
      if (added < 0) closeSync(fd);
      check(`watch ${path}`, added);
      return fd;
    },
    awaitAny: (fds) => {
      for (;;) {
        const came = check<number[]>("poll", pollAll(fds, POLLIN, -1));
        const first = came.findIndex((events) => events !== 0);
        if (first >= 0) return first;
      }
    },
    run: (argv, env, timeoutMs) => {
      const [file = "", ...rest] = argv.map(decodeUtf8);
      const environment = environmentOf(env.map(decodeUtf8));
      const options = { env: environment, timeout: timeoutMs, killSignal: "SIGKILL" } as const;
      const { status, signal, error } = spawnSync(file, rest, { ...options, stdio: ["ignore", 2, 2] });
      const code = (error as { code?: string } | undefined)?.code;
      if (code === "ETIMEDOUT") throw new SysError("run", ETIMEDOUT);
      if (code !== undefined) return code === "ENOENT" ? 127 : 126;
      return signal === null ? (status ?? 0) : 256 + (signal === "SIGKILL" ? 9 : 15);
    },
    spawn: (argv, env) => startProgram(argv.map(decodeUtf8), env.map(decodeUtf8)),
    execve: (path, argv, env) => {
      c.signal(SIGPIPE, SIG_DFL);
      c.signal(SIGIO, SIG_DFL);
      // Node has made its own standard streams close-on-exec.
      for (const fd of [0, 1, 2]) raw(c.fcntl, fd, F_SETFD, 0);
      const failed = raw(c.execve, path, [...argv.map(decodeUtf8), null], [...env.map(decodeUtf8), null]);
      throw new SysError(`execute ${path}`, -failed || EAGAIN);
    },
    kill: (pid, signal) => void check(`kill ${pid}`, raw(c.kill, pid, signal)),
    getpid: () => process.pid,
    geteuid: () => process.geteuid?.() ?? -1,
    args: () => args.map((word) => Buffer.from(word)),
    environment: () => Object.entries(process.env).map(([name, value]) => Buffer.from(`${name}=${value ?? ""}`)),
    catchSignals: () => void Atomics.store(signals.state, 1, 1),
    takeSignals: () => {
      const bits = Atomics.exchange(signals.state, 0, 0);
      const drained = Buffer.alloc(64);
      for (let left = 1; left > 0 && pollWake(signals.wake);) left = raw(c.read, signals.wake, drained, drained.length);
      return bits;
    },
    monotonic: () => performance.now(),
    exit: (code) => process.exit(code),
  };
}

function pollWake(wake: Fd): boolean {
  const fds = Buffer.alloc(8);
  fds.writeInt32LE(wake, 0);
  fds.writeInt16LE(POLLIN, 4);
  return (c.poll as Call)(fds, 1, 0) > 0;
}

/** For the main thread: a pipe, [read end, write end]. */
export function openPipe(): [Fd, Fd] {
  const fds = Buffer.alloc(8);
  check("pipe", raw(libc.func("int pipe2(void *, int)"), fds, O_CLOEXEC));
  return [fds.readInt32LE(0), fds.readInt32LE(4)];
}

/** For the main thread: leaves a signal for the agent; false while it has not asked for signals. */
export function postSignal({ state }: Signals, wakeEnd: Fd, bit: number): boolean {
  if (Atomics.load(state, 1) === 0) return false;
  Atomics.or(state, 0, bit);
  writeSync(wakeEnd, "!");
  return true;
}
