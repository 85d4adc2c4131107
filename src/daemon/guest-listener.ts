// Guests that come over a network, by TLS 1.3 with a certificate of our authority. Which VM it is says the certificate
// alone: it names the VM's id, which no VM has again. What is not of a VM that there is is ended without a word.
import { constants, type X509Certificate } from "node:crypto";
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer, type Server as TlsServer } from "node:tls";
import { listenOn, showAddress, type GuestAddress } from "#daemon/listen";
import { ListenerTls, type Reloaded } from "#daemon/listener-tls";
import { GuestStream } from "#daemon/guest-stream";
import { Strangers } from "#daemon/strangers";
import { vmIdOf } from "#pki/profile";

/** Serves a stream of the VM with this id; false where there is none. */
export type Admit = (vmId: string, stream: Duplex) => boolean;

/** Milliseconds; an emulated guest takes half a second. */
const HANDSHAKE_TIMEOUT = 10_000;
/** Without tickets Node keeps no sessions: one that is taken up again would not be asked for a certificate again. */
const NO_RESUMPTION = constants.SSL_OP_NO_TICKET;
/** Different lines of the log about who was turned away, until the files are read again. */
const MAX_REFUSALS = 100;

export class GuestListener {
  /** As it is, also where any free port was asked for. */
  readonly address: string;
  readonly port: number;
  /** Whether who connects to 127.0.0.1 comes here. */
  readonly reachesLoopback: boolean;
  readonly #tcp: Server;
  readonly #tls: ListenerTls;
  readonly #sockets: ReadonlySet<Socket>;
  readonly #refused: Set<string>;

  private constructor(tcp: Server, tls: ListenerTls, sockets: ReadonlySet<Socket>, refused: Set<string>) {
    const { address, port } = tcp.address() as AddressInfo;
    this.address = showAddress(address, port);
    this.port = port;
    this.reachesLoopback = ["127.0.0.1", "0.0.0.0", "::"].includes(address);
    this.#tcp = tcp;
    this.#tls = tls;
    this.#sockets = sockets;
    this.#refused = refused;
  }

  /** Throws HatchwayError, with nothing open. */
  static async listen(address: GuestAddress, admit: Admit, report: (line: string) => void): Promise<GuestListener> {
    const tls = await ListenerTls.read(address.tls, NO_RESUMPTION);
    const refused = new Set<string>();
    const refuse = (socket: Socket, why: string): void => {
      const line = `turned away a guest at ${socket.remoteAddress ?? "an address that is gone"}: ${why}`;
      if (!refused.has(line) && refused.size < MAX_REFUSALS) report(line);
      refused.add(line);
      socket.destroy();
    };
    const strangers = new Strangers();
    const secure = secureServer(tls, strangers, admit, refuse);
    const sockets = new Set<Socket>();
    const tcp = createTcpServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      // Whoever goes away before he has said who he is, is nothing to report.
      socket.on("error", () => socket.destroy());
      strangers.add(socket);
      secure.emit("connection", socket);
    });
    await listenOn(tcp, address);
    return new GuestListener(tcp, tls, sockets, refused);
  }

  /** Whether its certificate names this address. */
  isFor(address: string): boolean {
    return this.#tls.isFor(address);
  }

  trusts(authority: X509Certificate): boolean {
    return this.#tls.trusts(authority);
  }

  /** Takes the files as they are now; ends connections of certificates that are good no more. */
  reload(): Promise<Reloaded> {
    this.#refused.clear();
    return this.#tls.reload();
  }

  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#tcp.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    return closed;
  }
}

/** It never listens itself: connections are given to it. */
function secureServer(
  tls: ListenerTls,
  strangers: Strangers,
  admit: Admit,
  refuse: (socket: Socket, why: string) => void,
): TlsServer {
  const server = createServer({ ...tls.options(false), handshakeTimeout: HANDSHAKE_TIMEOUT });
  tls.serve(server);
  server.on("secureConnection", (socket) => {
    strangers.remove(socket);
    socket.on("error", () => socket.destroy());
    const certificate = socket.getPeerX509Certificate();
    if (!certificate || tls.isRevoked(certificate.serialNumber)) return refuse(socket, "its certificate is revoked");
    const vmId = vmIdOf(certificate);
    const bearer = `the certificate ${certificate.serialNumber}`;
    if (vmId === undefined) return refuse(socket, `${bearer} names no vm`);
    if (!admit(vmId, new GuestStream(socket))) return refuse(socket, `${bearer} is of vm ${vmId}, which there is not`);
  });
  server.on("tlsClientError", ({ message }, socket) => refuse(socket, printable(message)));
  return server;
}

/** What OpenSSL and Node say holds no bytes of the other side, and is cut all the same. */
function printable(message: string): string {
  const [, reason = message] = /:([^:]+):?$/.exec(message.trim()) ?? [];
  return reason.replaceAll(/[^ -~]/g, "?").slice(0, 120);
}
