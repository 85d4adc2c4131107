// Guests that come over a network: the authority that a daemon's configuration means, what it issues, and connections.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import type { VmBody } from "#api-vm";
import { Authority, pemFile } from "#pki/authority";
import { GuestConnection } from "#test/kit/guest-connection";

/** Makes an authority and the daemon's certificate where `guest-listen: [ADDRESS]` looks for them; that configuration. */
export async function guestListenConfig(folder: string): Promise<string> {
  await using authority = await Authority.create(authorityFolder(folder), 30);
  await authority.issue({ kind: "server", name: "guests", hosts: ["127.0.0.1", "localhost"] });
  return `guest-listen: ["127.0.0.1:${await freePort()}"]\n`;
}

/** In the folder of a TestDaemon. */
export function authorityFolder(folder: string): string {
  return join(folder, "config/pki");
}

/** The file that goes into the guest; it says where the daemon of `folder` listens. */
export async function issueGuest(folder: string, { id, name }: Pick<VmBody, "id" | "name">): Promise<string> {
  const config = readFileSync(join(folder, "config/config.yaml"), "utf8");
  const [, host = ""] = /guest-listen: \["([^"]+)"/.exec(config) ?? [];
  await using authority = await Authority.open(authorityFolder(folder));
  return pemFile(authority.folder, await authority.issue({ kind: "guest", name, vmId: id, host }));
}

/** Where the host listens that a guest's file names. */
export function hostIn(file: string): { host: string; port: number } {
  const [, host = "", port] = /^Host: (.+):([0-9]+)$/m.exec(readFileSync(file, "utf8")) ?? [];
  return { host, port: Number(port) };
}

/** Resolves once the handshake is done, which the host may go back on (RFC 8446, section 4.4.2.4). */
export async function openTls(file: string, more: ConnectionOptions = {}): Promise<GuestConnection> {
  const pem = readFileSync(file);
  // Behind the key stands the authority.
  const ca = pem.subarray(pem.lastIndexOf("-----BEGIN CERTIFICATE-----"));
  const socket: TLSSocket = connect({ ...hostIn(file), cert: pem, key: pem, ca, ...more });
  await once(socket, "secureConnect");
  return new GuestConnection(socket);
}

/** A port of the loopback that is free now: what a daemon is to have again after a restart. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
