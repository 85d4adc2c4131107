// Unix sockets that Node does not make: of datagrams, and one that listens and never accepts.
import { closeSync } from "node:fs";
import koffi from "koffi";
import { socket } from "#host/libc";

const libc = koffi.load("libc.so.6");
const bind = libc.func("int bind(int fd, const uint8_t *address, uint32_t length)") as (
  fd: number,
  address: Uint8Array,
  length: number,
) => number;
const recv = libc.func("int64_t recv(int fd, _Out_ uint8_t *bytes, size_t size, int flags)") as (
  fd: number,
  bytes: Uint8Array,
  size: number,
  flags: number,
) => number;
const listen = libc.func("int listen(int fd, int backlog)") as (fd: number, backlog: number) => number;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const MSG_DONTWAIT = 0x40;

export interface Receiver {
  /** What came, undefined where nothing waits. */
  read: () => string | undefined;
  close: () => void;
}

/** A datagram socket of unix(7) at `path`; behind an `@`, an abstract name. */
export function receiver(path: string): Receiver {
  const fd = bound(path, SOCK_DGRAM);
  const read = (): string | undefined => {
    const bytes = Buffer.alloc(65_536);
    const size = recv(fd, bytes, bytes.length, MSG_DONTWAIT);
    return size < 0 ? undefined : bytes.toString("latin1", 0, size);
  };
  return { read, close: () => closeSync(fd) };
}

/** The descriptor of a stream socket that listens at `path`: who connects waits for whoever is handed it. */
export function listening(path: string): number {
  const fd = bound(path, SOCK_STREAM);
  if (listen(fd, 16) !== 0) throw new Error(`cannot listen at "${path}"`);
  return fd;
}

function bound(path: string, type: number): number {
  const fd = socket(AF_UNIX, type, 0);
  const address = Buffer.from(path.startsWith("@") ? `\u0001\0\0${path.slice(1)}` : `\u0001\0${path}\0`, "latin1");
  if (bind(fd, address, address.length) !== 0) throw new Error(`cannot bind "${path}"`);
  return fd;
}
