// TLS of one listener whose files may change while it serves.
import { X509Certificate } from "node:crypto";
import type { Server, TlsOptions, TLSSocket } from "node:tls";
import type { TlsFiles } from "#daemon/listen";
import { isSamePair, isSameTrust, readPair, readTrust, type ClientTrust, type ServerPair } from "#daemon/tls-files";
import { pemBlocks } from "#keygen/revocations";

/** What of new files was taken, and what not, and why. */
export interface Reloaded {
  taken: string[];
  kept: { what: string; why: unknown }[];
}

export class ListenerTls {
  readonly #files: TlsFiles;
  readonly #secureOptions: number;
  readonly #sockets = new Set<TLSSocket>();
  #server: Server | undefined;
  #pair: ServerPair;
  #trust: ClientTrust | undefined;

  private constructor(files: TlsFiles, secureOptions: number, pair: ServerPair, trust: ClientTrust | undefined) {
    this.#files = files;
    this.#secureOptions = secureOptions;
    this.#pair = pair;
    this.#trust = trust;
  }

  /** `secureOptions`: of OpenSSL, SSL_CTX_set_options(3). Throws HatchwayError. */
  static async read(files: TlsFiles, secureOptions: number = 0): Promise<ListenerTls> {
    return new ListenerTls(files, secureOptions, await readPair(files), await readTrust(files));
  }

  options(hasTokens: boolean): TlsOptions {
    const asks = this.#trust !== undefined && { requestCert: true, rejectUnauthorized: !hasTokens };
    return { ...this.#context(), ...asks };
  }

  #context(): Pick<TlsOptions, "cert" | "key" | "ca" | "crl" | "minVersion" | "secureOptions"> {
    const { cert, key } = this.#pair;
    const { ca, crl } = this.#trust ?? {};
    const secureOptions = this.#secureOptions;
    return { cert, key, minVersion: "TLSv1.3", secureOptions, ...(ca && { ca }), ...(crl && { crl }) };
  }

  /** Whether what is shown now names this address. */
  isFor(address: string): boolean {
    return new X509Certificate(this.#pair.cert).checkIP(address) !== undefined;
  }

  /** Whether this is among the authorities of clients. */
  trusts(authority: X509Certificate): boolean {
    const trusted = pemBlocks(this.#trust?.ca ?? Buffer.alloc(0), "CERTIFICATE");
    return trusted.some((der) => der.equals(authority.raw));
  }

  isRevoked(serial: string): boolean {
    return this.#trust?.revoked.has(serial) === true;
  }

  serve(server: Server): void {
    this.#server = server;
    server.on("secureConnection", (socket: TLSSocket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  async reload(): Promise<Reloaded> {
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
