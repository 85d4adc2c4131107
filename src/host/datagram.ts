// Datagrams on unix sockets (unix(7)), which Node does not have: journald and systemd are spoken to by them.
import { closeSync } from "node:fs";
import { HatchwayError } from "#error";
import { lastError, sendto, socket } from "#host/libc";

/** unix(7), socket(7), send(2); the numbers are those of x86-64 and of arm64. */
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Bytes of a path in a sockaddr_un, its NUL included. */
const MAX_PATH = 108;

/** Sends to one socket, and is never sent anything. */
export class Datagrams implements Disposable {
  readonly #fd: number;
  readonly #address: Buffer;

  private constructor(fd: number, address: Buffer) {
    this.#fd = fd;
    this.#address = address;
  }

  /** `path` is absolute, or an abstract name behind an `@`; undefined for what neither is, or is too long. */
  static to(path: string): Datagrams | undefined {
    const address = addressOf(path);
    if (!address) return undefined;
    const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) return new Datagrams(fd, address);
    throw new HatchwayError("unsupported", `cannot make a socket for datagrams: ${lastError()}`);
  }

  /** Whether it was taken; it does not wait for a reader that is busy or gone. */
  send(bytes: Uint8Array): boolean {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const sent = sendto(this.#fd, bytes, bytes.length, flags, this.#address, this.#address.length);
    return Number(sent) === bytes.length;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** sockaddr_un: family u16 in the machine's order, and a path with its NUL, or a NUL and a name without one. */
function addressOf(path: string): Buffer | undefined {
  if (Buffer.byteLength(path) >= MAX_PATH || path.includes("\0")) return undefined;
  if (path.startsWith("/")) return Buffer.from(`\u0001\0${path}\0`);
  return path.startsWith("@") ? Buffer.from(`\u0001\0\0${path.slice(1)}`) : undefined;
}
