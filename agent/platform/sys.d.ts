// The module that ../native/main.c gives to QuickJS. A negative number is -errno, for `check` of quickjs.ts.
declare module "sys" {
  export const O_RDONLY: number;
  export const O_WRONLY: number;
  export const O_RDWR: number;
  export const O_CREAT: number;
  export const O_EXCL: number;
  export const O_TRUNC: number;
  export const O_NONBLOCK: number;
  export const O_NOFOLLOW: number;
  export const O_DIRECTORY: number;
  export const O_PATH: number;

  /** [mode, uid, gid, size, links, mtime, inode] */
  type Fields = [number, number, number, number, number, number, number];

  export function openat(dir: number, path: string, flags: number, mode: number): number;
  export function openat2(dir: number, path: string, flags: number, mode: number, resolve: number): number;
  export function read(fd: number, into: Uint8Array): number;
  export function write(fd: number, bytes: Uint8Array): number;
  export function close(fd: number): number;
  export function fstat(fd: number): number | Fields;
  export function fstatat(dir: number, path: string): number | Fields;
  export function readdir(fd: number): number | string[];
  export function readlinkat(dir: number, path: string): number | string;
  export function mkdirat(dir: number, path: string, mode: number): number;
  export function linkat(fromDir: number, from: string, toDir: number, to: string): number;
  export function symlinkat(target: string, dir: number, path: string): number;
  export function unlinkat(dir: number, path: string, directory: boolean): number;
  export function renameat(fromDir: number, from: string, toDir: number, to: string, flags: number): number;
  export function fchown(fd: number, uid: number, gid: number): number;
  export function fchmod(fd: number, mode: number): number;
  export function futimens(fd: number, seconds: number): number;
  export function flock(fd: number): number;
  export function lease(fd: number): number;
  export function mount(type: string, target: string, flags: number, options: string): number;
  export function mountPrivate(type: string, device: string): number;
  export function getrandom(into: Uint8Array): number;
  export function wipe(bytes: Uint8Array): number;
  export function poll(fd: number, events: number, timeoutMs: number): number;
  export function connectUnix(path: string, timeoutMs: number): number;
  export function connectVsock(cid: number, port: number, timeoutMs: number): number;
  export function connectTcp(host: string, port: number, timeoutMs: number): number;
  export function tlsOpen(fd: number, host: string, own: Uint8Array, authorities: Uint8Array): number;
  export function tlsHandshake(): number;
  export function tlsRead(into: Uint8Array): number;
  export function tlsWrite(bytes: Uint8Array): number;
  export function tlsProblem(): [error: number, findings: number, alert: number];
  export function tlsClose(): number;
  export function datagram(address: string, bytes: Uint8Array): number;
  export function listenUnix(path: string): number;
  export function accept(listener: number): number;
  export function peer(fd: number): number | [pid: number, uid: number];
  export function peerName(fd: number): number | Uint8Array;
  export function watch(path: string): number;
  export function awaitAny(fds: readonly number[]): number;
  export function run(argv: readonly Uint8Array[], env: readonly Uint8Array[], timeoutMs: number): number;
  export function spawn(argv: readonly Uint8Array[], env: readonly Uint8Array[]): number;
  export function execve(path: string, argv: readonly Uint8Array[], env: readonly Uint8Array[]): number;
  export function kill(pid: number, signal: number): number;
  export function getpid(): number;
  export function geteuid(): number;
  export function args(): Uint8Array[];
  export function environment(): Uint8Array[];
  export function catchSignals(): number;
  export function takeSignals(): number;
  export function monotonic(): number;
  export function exit(code: number): never;
}
