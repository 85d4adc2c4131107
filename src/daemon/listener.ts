import type { Server } from "node:http";
import type { Server as TlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TlsOptions, TLSSocket } from "node:tls";
import type { Api } from "#admin/route";
import { networkDoor } from "#admin/network";
import { serveNetwork } from "#admin/serve";
import { addressProblem, showAddress, type ListenAddress, type TlsFiles } from "#daemon/listen";
import { isSamePair, isSameTrust, readPair, readTrust, type ClientTrust, type ServerPair } from "#daemon/tls-files";
import { HatchwayError } from "#error";
import { errnoText } from "#host/files";
import type { Vault } from "#vault";

export interface ListenerParts {
  api: Api;
  vault: Vault;
  /** Whose token a header holds, as of now. */
  findToken: (authorization: string) => string | undefined;
  /** Whether the configuration has tokens: then a connection may come about without a client certificate. */
  hasTokens: boolean;
  report: (line: string) => void;
}

/** The admin API on one address, whose TLS files may change while it serves. */
export class NetworkListener {
  readonly server: Server | TlsServer;
  /** As it is, also where any free port was asked for. */
  readonly address: string;
  readonly #tls: ListenerTls | undefined;

  private constructor(server: Server | TlsServer, tls: ListenerTls | undefined) {
    const { address, port } = server.address() as AddressInfo;
    this.address = showAddress(address, port);
    this.server = server;
    this.#tls = tls;
  }

  /** Throws HatchwayError, with nothing open. */
  static async listen(address: ListenAddress, parts: ListenerParts): Promise<NetworkListener> {
    const { api, vault, findToken, hasTokens, report } = parts;
    const problem = addressProblem(address, hasTokens);
    if (problem !== undefined) throw new HatchwayError("invalid", problem);
    const tls = address.tls && (await ListenerTls.read(address.tls));
    const door = networkDoor(vault, { findToken, isRevoked: (serial) => tls?.isRevoked(serial) === true });
    const server = serveNetwork(api, door, tls?.options(hasTokens), report);
    if (tls) tls.serve(server as TlsServer);
    await listen(server, address);
    return new NetworkListener(server, tls);
  }

  /** Takes the files as they are now, each pair of them that is good; says what was taken, and what was not. */
  async reload(): Promise<{ taken: string[]; kept: { what: string; why: unknown }[] }> {
    return (await this.#tls?.reload()) ?? { taken: [], kept: [] };
  }
}

class ListenerTls {
  readonly #files: TlsFiles;
  readonly #sockets = new Set<TLSSocket>();
  #server: TlsServer | undefined;
  #pair: ServerPair;
  #trust: ClientTrust | undefined;

  private constructor(files: TlsFiles, pair: ServerPair, trust: ClientTrust | undefined) {
    this.#files = files;
    this.#pair = pair;
    this.#trust = trust;
  }

  static async read(files: TlsFiles): Promise<ListenerTls> {
    return new ListenerTls(files, await readPair(files), await readTrust(files));
  }

  options(hasTokens: boolean): TlsOptions {
    const asks = this.#trust !== undefined && { requestCert: true, rejectUnauthorized: !hasTokens };
    return { ...this.#context(), ...asks };
  }

  #context(): Pick<TlsOptions, "cert" | "key" | "ca" | "crl" | "minVersion"> {
    const { cert, key } = this.#pair;
    const { ca, crl } = this.#trust ?? {};
    return { cert, key, minVersion: "TLSv1.3", ...(ca && { ca }), ...(crl && { crl }) };
  }

  isRevoked(serial: string): boolean {
    return this.#trust?.revoked.has(serial) === true;
  }

  serve(server: TlsServer): void {
    this.#server = server;
    server.on("secureConnection", (socket: TLSSocket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  async reload(): Promise<{ taken: string[]; kept: { what: string; why: unknown }[] }> {
    const taken: string[] = [];
    const kept: { what: string; why: unknown }[] = [];
    const before = this.#trust;
    await read("certificate", readPair(this.#files), (pair) => {
      if (isSamePair(pair, this.#pair)) return undefined;
      this.#pair = pair;
      return "certificate";
    });
    await read("client authority", readTrust(this.#files), (trust) => {
      if (isSameTrust(trust, this.#trust)) return undefined;
      this.#trust = trust;
      return this.#hasAuthorityOf(before) ? "revocation list" : "client authority";
    });
    if (taken.length > 0) this.#server?.setSecureContext(this.#context());
    const ended = before === this.#trust ? 0 : this.#endStrangers(before);
    if (ended > 0) taken.push(`which ended ${ended} open connection${ended === 1 ? "" : "s"}`);
    return { taken, kept };

    async function read<T>(what: string, reading: Promise<T>, take: (found: T) => string | undefined): Promise<void> {
      try {
        const took = take(await reading);
        if (took !== undefined) taken.push(took);
      } catch (why) {
        kept.push({ what, why });
      }
    }
  }

  #hasAuthorityOf(before: ClientTrust | undefined): boolean {
    return before !== undefined && this.#trust?.ca.equals(before.ca) === true;
  }

  /** Ends connections whose certificate is revoked; all that came by one, if there is another authority now. */
  #endStrangers(before: ClientTrust | undefined): number {
    const hasSameAuthority = this.#hasAuthorityOf(before);
    let ended = 0;
    for (const socket of this.#sockets) {
      if (!socket.authorized) continue;
      if (hasSameAuthority && !this.isRevoked(socket.getPeerCertificate().serialNumber)) continue;
      socket.destroy();
      ended++;
    }
    return ended;
  }
}

function listen(server: Server | TlsServer, { host, port }: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause) => {
      const shown = showAddress(host, port);
      reject(new HatchwayError("unavailable", `cannot listen on "${shown}": ${errnoText(cause)}`, { cause }));
    });
    server.listen(port, host, resolve);
  });
}
