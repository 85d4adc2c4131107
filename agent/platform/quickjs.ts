// Sys over the C module of ../native.
import * as sys from "sys";
import { ask, check, statOf, TAKEN } from "#agent/platform/check";
import type { Sys } from "#agent/sys";

export const quickjs: Sys = {
  O_RDONLY: sys.O_RDONLY,
  O_WRONLY: sys.O_WRONLY,
  O_RDWR: sys.O_RDWR,
  O_CREAT: sys.O_CREAT,
  O_EXCL: sys.O_EXCL,
  O_TRUNC: sys.O_TRUNC,
  O_NONBLOCK: sys.O_NONBLOCK,
  O_NOFOLLOW: sys.O_NOFOLLOW,
  O_DIRECTORY: sys.O_DIRECTORY,
  O_PATH: sys.O_PATH,
  openat: (dir, path, flags, mode = 0) => check(`open ${path}`, sys.openat(dir, path, flags, mode)),
  openat2: (dir, path, flags, mode, resolve) => check(`open ${path}`, sys.openat2(dir, path, flags, mode, resolve)),
  read: (fd, into) => check("read", sys.read(fd, into)),
  write: (fd, bytes) => check("write", sys.write(fd, bytes)),
  close: (fd) => void check("close", sys.close(fd)),
  fstat: (fd) => statOf(check("fstat", sys.fstat(fd))),
  fstatat: (dir, path) => statOf(check(`stat ${path}`, sys.fstatat(dir, path))),
  readdir: (fd) => check("readdir", sys.readdir(fd)),
  readlinkat: (dir, path) => check(`readlink ${path}`, sys.readlinkat(dir, path)),
  mkdirat: (dir, path, mode) => void check(`mkdir ${path}`, sys.mkdirat(dir, path, mode)),
  linkat: (fromDir, from, toDir, to) => void check(`link ${to}`, sys.linkat(fromDir, from, toDir, to)),
  symlinkat: (target, dir, path) => void check(`symlink ${path}`, sys.symlinkat(target, dir, path)),
  unlinkat: (dir, path, directory) => void check(`unlink ${path}`, sys.unlinkat(dir, path, directory)),
  renameat: (fromDir, from, toDir, to, flags) =>
    void check(`rename ${from}`, sys.renameat(fromDir, from, toDir, to, flags)),
  fchown: (fd, uid, gid) => void check("chown", sys.fchown(fd, uid, gid)),
  fchmod: (fd, mode) => void check("chmod", sys.fchmod(fd, mode)),
  futimens: (fd, seconds) => void check("futimens", sys.futimens(fd, seconds)),
  flock: (fd) => ask("flock", sys.flock(fd), TAKEN),
  lease: (fd) => ask("lease", sys.lease(fd), TAKEN),
  mount: (type, target, flags, options) => void check(`mount ${target}`, sys.mount(type, target, flags, options)),
  mountPrivate: (type, device) => check("mount", sys.mountPrivate(type, device)),
  getrandom: (into) => void check("getrandom", sys.getrandom(into)),
  wipe: (bytes) => void check("wipe", sys.wipe(bytes)),
  poll: (fd, events, timeoutMs) => check("poll", sys.poll(fd, events, timeoutMs)),
  connectUnix: (path, timeoutMs) => check(`connect ${path}`, sys.connectUnix(path, timeoutMs)),
  connectVsock: (cid, port, timeoutMs) => check(`connect vsock:${cid}:${port}`, sys.connectVsock(cid, port, timeoutMs)),
  connectTcp: (host, port, timeoutMs) => check(`connect ${host}:${port}`, sys.connectTcp(host, port, timeoutMs)),
  tlsOpen: (fd, host, own, authorities) => void check("tls", sys.tlsOpen(fd, host, own, authorities)),
  tlsHandshake: () => void check("tls", sys.tlsHandshake()),
  tlsRead: (into) => check("tls read", sys.tlsRead(into)),
  tlsWrite: (bytes) => check("tls write", sys.tlsWrite(bytes)),
  tlsProblem: () => {
    const [error, findings, alert] = sys.tlsProblem();
    return { error, findings, alert };
  },
  tlsClose: () => void sys.tlsClose(),
  datagram: (address, bytes) => void check(`send to ${address}`, sys.datagram(address, bytes)),
  listenUnix: (path) => check(`listen on ${path}`, sys.listenUnix(path)),
  accept: (listener) => check("accept", sys.accept(listener)),
  peer: (fd) => {
    const [pid, uid] = check<[number, number]>("peer", sys.peer(fd));
    return { pid, uid };
  },
  peerName: (fd) => check<Uint8Array>("getpeername", sys.peerName(fd)),
  watch: (path) => check(`watch ${path}`, sys.watch(path)),
  awaitAny: (fds) => check("poll", sys.awaitAny(fds)),
  run: (argv, env, timeoutMs) => check("run", sys.run(argv, env, timeoutMs)),
  spawn: (argv, env) => check("spawn", sys.spawn(argv, env)),
  execve: (path, argv, env) => {
    check(`execute ${path}`, sys.execve(path, argv, env));
    throw new Error("execve returned");
  },
  kill: (pid, signal) => void check(`kill ${pid}`, sys.kill(pid, signal)),
  getpid: sys.getpid,
  geteuid: sys.geteuid,
  args: sys.args,
  environment: sys.environment,
  catchSignals: () => void check("sigaction", sys.catchSignals()),
  takeSignals: sys.takeSignals,
  monotonic: sys.monotonic,
  exit: sys.exit,
};
