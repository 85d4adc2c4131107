// The addresses that the admin API is served on besides its unix socket.
import { readFile } from "node:fs/promises";
import type { Server } from "node:http";
import type { Server as TlsServer } from "node:https";
import { isIP } from "node:net";
import type { TlsOptions } from "node:tls";
import { networkDoor } from "#admin/network";
import type { Api } from "#admin/route";
import { serveNetwork } from "#admin/serve";
import { Tokens, type TokenFile } from "#admin/tokens";
import { HatchwayError } from "#error";
import { errnoText, readPrivateFile } from "#host/files";
import type { Vault } from "#vault";

export interface ListenAddress {
  /** An IPv4 or IPv6 address. */
  host: string;
  port: number;
  tls?: TlsFiles;
}

/** PEM files; all paths are absolute. */
export interface TlsFiles {
  certificate: string;
  /** Private, as a root key is. */
  key: string;
  /** The authority of the clients' certificates. */
  clients?: string;
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

export interface ListenParts {
  api: Api;
  vault: Vault;
  addresses: readonly ListenAddress[];
  tokens: readonly TokenFile[];
  report: (line: string) => void;
}

/** Serves on all of the addresses, or throws with none of them open. */
export async function listenNetwork(parts: ListenParts): Promise<(Server | TlsServer)[]> {
  const { api, vault, addresses, report } = parts;
  const tokens = await Tokens.read(parts.tokens);
  const door = networkDoor(vault, tokens);
  const servers: (Server | TlsServer)[] = [];
  try {
    for (const address of addresses) {
      const problem = addressProblem(address, tokens.size > 0);
      if (problem !== undefined) throw new HatchwayError("invalid", problem);
      const tls = address.tls && (await readTls(address.tls, tokens.size > 0));
      const server = serveNetwork(api, door, tls, report);
      await listen(server, address);
      servers.push(server);
    }
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }
  return servers;
}

async function readTls({ certificate, key, clients }: TlsFiles, hasTokens: boolean): Promise<TlsOptions> {
  const pem = await readPrivateFile(key, 65_536);
  if (!pem) throw new HatchwayError("not-found", `there is no key file "${key}"`);
  return {
    key: pem,
    cert: await readPem(certificate),
    minVersion: "TLSv1.3",
    ...(clients !== undefined && { ca: await readPem(clients), requestCert: true, rejectUnauthorized: !hasTokens }),
  };
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new HatchwayError("unavailable", `cannot read "${path}": ${errnoText(cause)}`, { cause });
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
