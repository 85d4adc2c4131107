import type { Server } from "node:http";
import type { Server as TlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Api } from "#admin/route";
import { networkDoor } from "#admin/network";
import { serveNetwork } from "#admin/serve";
import { addressProblem, listenOn, showAddress, type ListenAddress } from "#daemon/listen";
import { ListenerTls, type Reloaded } from "#daemon/listener-tls";
import { HatchwayError } from "#error";
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
    await listenOn(server, address);
    return new NetworkListener(server, tls);
  }

  /** Takes the files as they are now, each pair of them that is good; says what was taken, and what was not. */
  async reload(): Promise<Reloaded> {
    return (await this.#tls?.reload()) ?? { taken: [], kept: [] };
  }
}
