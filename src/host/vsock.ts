// AF_VSOCK of the host's kernel (vsock(7)), which Node does not have: the socket is made here, and libuv serves it as any
// other stream.
import { closeSync } from "node:fs";
import { createServer, Socket, type Server } from "node:net";
import koffi from "koffi";
import { HatchwayError } from "#error";
import { lastError, socket } from "#host/libc";
import { descriptorOf } from "#host/peer";

const libc = koffi.load("libc.so.6");

type Bind = (fd: number, address: Uint8Array, length: number) => number;
const bind: Bind = libc.func("int bind(int fd, const uint8_t *address, uint32_t length)");
type Getpeername = (fd: number, address: Uint8Array, length: Uint32Array) => number;
const getpeername: Getpeername = libc.func("int getpeername(int fd, _Out_ uint8_t *address, _Inout_ uint32_t *length)");

/** socket(2), vsock(7), on x86-64 and arm64. */
const AF_INET = 2;
const AF_VSOCK = 40;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** sockaddr_vm: family u16, zero u16, port u32, cid u32, flags and zero to 16 bytes; in the machine's order. */
const ADDRESS_SIZE = 16;
const VMADDR_CID_ANY = 0xffff_ffff;

/** This host itself, by the kernel's vsock_loopback. */
export const CID_LOCAL = 1;
/** Those below are the hypervisor's, this host's, and the host's as guests call it. */
export const FIRST_GUEST_CID = 3;

/**
 * Listens on `port` for guests of any CID. Throws HatchwayError "unsupported" where the kernel has no AF_VSOCK or where
 * HATCHWAY_NO_AF_VSOCK=1 says that it is not ours to open, "locked" where another process has the port.
 */
export async function listenVsock(port: number, onConnection: (peer: Socket) => void): Promise<Server> {
  if (process.env["HATCHWAY_NO_AF_VSOCK"] === "1") {
    throw new HatchwayError("unsupported", "AF_VSOCK is not to be opened on this host", {
      hint: "HATCHWAY_NO_AF_VSOCK=1 says so in the daemon's environment",
    });
  }
  const fd = boundSocket(port);
  const server = createServer(onConnection);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    // No public way takes a descriptor of this family; the handle of a TCP stream takes any.
    server.listen({ _handle: openHandle(fd) } as object, () => {
      server.off("error", reject);
      resolve();
    });
  });
  // A connection that could not be accepted, for want of descriptors, is its own client's loss.
  server.on("error", () => undefined);
  return server;
}

/** The CID at the other end, as the kernel has it. Throws HatchwayError "internal" for a socket of another family. */
export function peerCid(peer: Socket): number {
  const address = Buffer.alloc(ADDRESS_SIZE);
  const length = new Uint32Array([ADDRESS_SIZE]);
  const fd = descriptorOf(peer);
  if (getpeername(fd, address, length) !== 0 || address.readUInt16LE() !== AF_VSOCK) {
    throw new HatchwayError("internal", `fd ${fd} is no vsock connection with a peer: ${lastError()}`);
  }
  return address.readUInt32LE(8);
}

function boundSocket(port: number): number {
  const fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    throw new HatchwayError("unsupported", `this host has no AF_VSOCK: ${lastError()}`, {
      hint: "modprobe vhost_vsock",
    });
  }
  const address = Buffer.alloc(ADDRESS_SIZE);
  address.writeUInt16LE(AF_VSOCK, 0);
  address.writeUInt32LE(port, 4);
  address.writeUInt32LE(VMADDR_CID_ANY, 8);
  if (bind(fd, address, address.length) === 0) return fd;
  const problem = lastError();
  closeSync(fd);
  if (problem === "EADDRINUSE") {
    throw new HatchwayError("locked", `another process listens on port ${port} of this host's vsock`, {
      hint: "one daemon of a host serves it: see who does with: ss --vsock --listening --processes",
    });
  }
  throw new HatchwayError("unavailable", `cannot listen on port ${port} of this host's vsock: ${problem}`);
}

interface TcpHandle {
  open(fd: number): number;
}
type TcpHandleClass = new (type: number) => TcpHandle;
/** TCPConstants.SERVER of Node's tcp_wrap. */
const SERVER = 1;

/** A handle of libuv's for a stream of any family. */
function openHandle(fd: number): TcpHandle {
  const Handle = tcpHandleClass();
  const handle = new Handle(SERVER);
  const error = handle.open(fd);
  if (error === 0) return handle;
  closeSync(fd);
  throw new HatchwayError("internal", `cannot serve a vsock socket: libuv error ${error}`);
}

/** Node shows its class only on an object of it. */
function tcpHandleClass(): TcpHandleClass {
  const fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw new HatchwayError("unsupported", `cannot make a socket: ${lastError()}`);
  const unused = new Socket({ fd });
  const handle = Reflect.get(unused, "_handle") as { constructor: TcpHandleClass };
  unused.destroy();
  return handle.constructor;
}
