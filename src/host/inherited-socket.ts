// A socket that whoever started this process listens on already: sd_listen_fds(3), socket activation.
import koffi from "koffi";
import { HatchwayError } from "#error";
import { fcntl, getsockopt, lastError, SOL_SOCKET } from "#host/libc";

const libc = koffi.load("libc.so.6");

type Getsockname = (fd: number, address: Uint8Array, length: Uint32Array) => number;
const getsockname: Getsockname = libc.func("int getsockname(int fd, _Out_ uint8_t *address, _Inout_ uint32_t *length)");

/** SD_LISTEN_FDS_START. */
const FIRST = 3;
/** socket(7), fcntl(2), on x86-64 and arm64. */
const SO_TYPE = 3;
const SO_ACCEPTCONN = 30;
const SOCK_STREAM = 1;
const AF_UNIX = 1;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
/** sockaddr_un: family u16, path. */
const ADDRESS_SIZE = 110;

/**
 * The descriptor of the one socket that was handed to this process, and that listens at `path`; undefined where none was.
 * Takes the variables away, since no process that this one starts is meant. Throws HatchwayError "invalid" for any other
 * socket, and for more than one.
 */
export function takeInheritedSocket(
  path: string,
  env: NodeJS.ProcessEnv,
  pid: number = process.pid,
): number | undefined {
  const { LISTEN_PID: whose, LISTEN_FDS: count } = env;
  if (whose === undefined || count === undefined) return undefined;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete env[name];
  if (whose !== String(pid)) return undefined;
  if (count !== "1") {
    throw new HatchwayError("invalid", `${count} sockets were handed over, and should be one, "${path}"`);
  }
  if (!isListeningStream(FIRST)) {
    throw new HatchwayError("invalid", "what was handed over is not a stream socket that listens", {
      hint: "the socket unit needs ListenStream= and Accept=no",
    });
  }
  const bound = pathOf(FIRST);
  if (bound !== path) {
    throw new HatchwayError("invalid", `the socket that was handed over is "${bound}", and should be "${path}"`, {
      hint: `the socket unit needs: ListenStream=${path}`,
    });
  }
  fcntl(FIRST, F_SETFD, "int", FD_CLOEXEC);
  return FIRST;
}

function isListeningStream(fd: number): boolean {
  return option(fd, SO_TYPE) === SOCK_STREAM && option(fd, SO_ACCEPTCONN) === 1;
}

/** Undefined for what is no socket. */
function option(fd: number, name: number): number | undefined {
  const value = Buffer.alloc(4);
  return getsockopt(fd, SOL_SOCKET, name, value, new Uint32Array([4])) === 0 ? value.readInt32LE() : undefined;
}

/** Where a unix socket is bound; what it is instead, for one that is another. */
function pathOf(fd: number): string {
  const address = Buffer.alloc(ADDRESS_SIZE);
  const length = new Uint32Array([ADDRESS_SIZE]);
  if (getsockname(fd, address, length) !== 0) {
    throw new HatchwayError("internal", `cannot tell where fd ${fd} is bound: ${lastError()}`);
  }
  if (address.readUInt16LE() !== AF_UNIX) return "no unix socket";
  const path = address.subarray(2, length[0]);
  const end = path.indexOf(0);
  return path.subarray(0, end < 0 ? path.length : end).toString();
}
