// A key and its self-signed certificate (RFC 5280): P-256, SHA-256, for servers and clients that trust it by itself.
import { createHash, generateKeyPairSync } from "node:crypto";
import { isIP } from "node:net";
import { pem } from "./pem.ts";
import {
  alternativeNames,
  basicConstraints,
  commonName,
  extendedKeyUsage,
  newSerial,
  signCertificate,
  SLACK,
} from "./x509.ts";

const HOST_NAME = /^(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;
const DAY = 86_400_000;

export interface KeyAndCertificate {
  /** PKCS #8 in PEM, for the caller to wipe. */
  key: Buffer;
  /** PEM. */
  certificate: Buffer;
  /** SHA-256 of the certificate, in hex. */
  fingerprint: string;
  notAfter: Date;
}

/** Worded to follow the quoted name; undefined for a host name (a wildcard too) or an address. */
export function hostProblem(host: string): string | undefined {
  const good = isIP(host) !== 0 || (host.length <= 64 && HOST_NAME.test(host));
  return good ? undefined : "is neither a host name of at most 64 characters nor an address";
}

/** No key usage: with one that cannot sign certificates, OpenSSL would not take it for self-signed. */
export function generateCertificate(host: string, days: number): KeyAndCertificate {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const now = Date.now();
  const notAfter = new Date(now + days * DAY);
  const name = commonName(host);
  const certificate = signCertificate(
    {
      serial: newSerial(),
      issuer: name,
      subject: name,
      publicKey,
      notBefore: new Date(now - SLACK),
      notAfter,
      extensions: [basicConstraints(false), extendedKeyUsage("server", "client"), alternativeNames([{ host }])],
    },
    privateKey,
  );
  const pkcs8 = privateKey.export({ format: "der", type: "pkcs8" });
  const key = pem("PRIVATE KEY", pkcs8);
  pkcs8.fill(0);
  const fingerprint = createHash("sha256").update(certificate).digest("hex");
  return { key, certificate: pem("CERTIFICATE", certificate), fingerprint, notAfter };
}
