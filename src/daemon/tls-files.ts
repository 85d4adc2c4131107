// The files of a TLS listener, checked before TLS has them: what belongs together is taken together or not at all.
import { createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import type { TlsFiles } from "#daemon/listen";
import { HatchwayError } from "#error";
import { errnoText, readPrivateFile } from "#host/files";
import { pemBlocks, readRevocations } from "#keygen/revocations";

const MAX_PEM = 65_536;

/** What the listener shows of itself. */
export interface ServerPair {
  cert: Buffer;
  key: Buffer;
}

/** By what the listener knows its clients. */
export interface ClientTrust {
  ca: Buffer;
  crl?: Buffer;
  /** Serial numbers in hex, as Node shows them. */
  revoked: ReadonlySet<string>;
}

/** Throws HatchwayError for a certificate and key that are not whole or do not belong together. */
export async function readPair({ certificate, key = certificate }: TlsFiles): Promise<ServerPair> {
  const pem = await readPrivateFile(key, MAX_PEM);
  if (!pem) throw new HatchwayError("not-found", `there is no key file "${key}"`);
  const cert = key === certificate ? pem : await readPem(certificate);
  const leaf = parse(certificate, "certificate", () => new X509Certificate(cert));
  const own: KeyObject = parse(key, "private key", () => createPrivateKey(pem));
  if (!leaf.checkPrivateKey(own)) {
    throw new HatchwayError("invalid", `the certificate "${certificate}" and the key "${key}" do not belong together`);
  }
  tryContext({ cert, key: pem }, `the certificate "${certificate}"`);
  return { cert, key: pem };
}

/** Undefined where no client certificates are taken. Throws HatchwayError as `readPair` does. */
export async function readTrust({ clients, revoked }: TlsFiles): Promise<ClientTrust | undefined> {
  if (clients === undefined) return undefined;
  const ca = await readPem(clients);
  const authorities = pemBlocks(ca, "CERTIFICATE");
  if (authorities.length === 0) throw new HatchwayError("invalid", `"${clients}" is not a certificate in PEM`);
  for (const der of authorities) parse(clients, "certificate", () => new X509Certificate(der));
  tryContext({ ca }, `the authority "${clients}"`);
  if (revoked === undefined) return { ca, revoked: new Set() };
  const crl = await readPem(revoked);
  const { serials, nextUpdate = Infinity } = readRevocations(revoked, crl, ca);
  tryContext({ ca, crl }, `the revocation list "${revoked}"`);
  if (nextUpdate > Date.now()) return { ca, crl, revoked: serials };
  throw new HatchwayError("invalid", `the revocation list "${revoked}" was to be replaced before now`, {
    hint: "let its authority make a new one: TLS takes no certificate by a list that is out of date",
  });
}

/** What is well formed may still be too weak for TLS. */
function tryContext(options: SecureContextOptions, what: string): void {
  try {
    createSecureContext(options);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split(":").at(-1) : "unknown";
    throw new HatchwayError("invalid", `TLS does not take ${what}: ${why}`, { cause });
  }
}

function parse<T>(path: string, what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw new HatchwayError("invalid", `"${path}" is not a ${what} in PEM`, { cause });
  }
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new HatchwayError("unavailable", `cannot read "${path}": ${errnoText(cause)}`, { cause });
  }
}

export function isSamePair(one: ServerPair, other: ServerPair): boolean {
  return one.cert.equals(other.cert) && one.key.equals(other.key);
}

export function isSameTrust(one: ClientTrust | undefined, other: ClientTrust | undefined): boolean {
  if (!one || !other) return one === other;
  const sameList = one.crl && other.crl ? one.crl.equals(other.crl) : one.crl === other.crl;
  return sameList && one.ca.equals(other.ca);
}
