// journald's socket, spoken to in its Native Journal Protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram for each
// entry, `FIELD=value` and a newline for each field. Node has no datagrams on unix sockets.
import { closeSync, statSync } from "node:fs";
import { HatchwayError } from "#error";
import { isErrno } from "#host/files";
import { lastError, sendto, socket } from "#host/libc";

export const JOURNAL_SOCKET = "/run/systemd/journal/socket";

/** unix(7), socket(7), send(2); the numbers are those of x86-64 and of arm64. */
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Bytes of a path in a sockaddr_un, its NUL included. */
const MAX_PATH = 108;

const FIELD = /^[A-Z][A-Z0-9_]{0,63}$/;

export class Journal implements Disposable {
  readonly #fd: number;
  /** sockaddr_un: family u16, path, NUL. */
  readonly #address: Buffer;

  private constructor(fd: number, path: string) {
    this.#fd = fd;
    this.#address = Buffer.from(`\u0001\0${path}\0`, "latin1");
  }

  /** Undefined where there is no journald. Throws HatchwayError "unsupported" if no socket can be made. */
  static open(path: string = JOURNAL_SOCKET): Journal | undefined {
    if (Buffer.byteLength(path) >= MAX_PATH || !isSocket(path)) return undefined;
    const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) return new Journal(fd, path);
    throw new HatchwayError("unsupported", `cannot make a socket for the journal: ${lastError()}`);
  }

  /** Whether journald took the entry; it does not wait for one that is busy or gone. Values are of one line. */
  send(fields: Readonly<Record<string, string>>): boolean {
    const entry = Buffer.from(encode(fields));
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const sent = sendto(this.#fd, entry, entry.length, flags, this.#address, this.#address.length);
    return Number(sent) === entry.length;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

function encode(fields: Readonly<Record<string, string>>): string {
  return Object.entries(fields)
    .map(([field, value]) => {
      if (FIELD.test(field) && !value.includes("\n")) return `${field}=${value}\n`;
      throw new HatchwayError("internal", "internal error", { cause: new Error(`no field of the journal: ${field}`) });
    })
    .join("");
}

function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch (cause) {
    if (isErrno(cause, "ENOENT") || isErrno(cause, "ENOTDIR") || isErrno(cause, "EACCES")) return false;
    throw cause;
  }
}
