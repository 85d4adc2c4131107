// The addresses that the admin API is served on besides its unix socket, and those where guests come over a network.
import { isIP, type Server } from "node:net";
import { HatchwayError } from "#error";
import { errnoText } from "#host/files";

export interface ListenAddress {
  /** An IPv4 or IPv6 address. */
  host: string;
  port: number;
  tls?: TlsFiles;
}

/** Where guests come over a network. */
export interface GuestAddress extends ListenAddress {
  tls: TlsFiles & { clients: string };
}

/** PEM files; all paths are absolute. */
export interface TlsFiles {
  certificate: string;
  /** Private, as a root key is; absent, it is in the certificate's file, which is private then. */
  key?: string;
  /** The authority of the clients' certificates. */
  clients?: string;
  /** What that authority has taken back. */
  revoked?: string;
}

const ADDRESS = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):([0-9]{1,5})$/i;

/** Reads `127.0.0.1:8080` or `[::1]:8080`; undefined for anything else. Port 0 is any that is free. */
export function parseAddress(text: string): { host: string; port: number } | undefined {
  const [, v6, v4, port] = ADDRESS.exec(text) ?? [];
  const host = v6 ?? v4 ?? "";
  if (isIP(host) !== (v6 === undefined ? 4 : 6) || Number(port) > 65_535) return undefined;
  return { host, port: Number(port) };
}

/** Why nobody may be served at an address as it is asked for; undefined where there is no reason. */
export function addressProblem({ host, port, tls }: ListenAddress, hasTokens: boolean): string | undefined {
  const shown = showAddress(host, port);
  if (!tls && !isLoopback(host)) return `"${shown}" is not of the loopback: it needs a certificate and key`;
  if (hasTokens || tls?.clients !== undefined) return undefined;
  return `"${shown}" would let nobody in: it needs a token, or the authority of client certificates`;
}

function isLoopback(host: string): boolean {
  return host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

export function showAddress(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Resolves once it listens; throws HatchwayError "unavailable". */
export function listenOn(server: Server, { host, port }: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause) => {
      const shown = showAddress(host, port);
      reject(new HatchwayError("unavailable", `cannot listen on "${shown}": ${errnoText(cause)}`, { cause }));
    });
    server.listen(port, host, resolve);
  });
}
