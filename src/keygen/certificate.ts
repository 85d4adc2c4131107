// A key and its self-signed certificate (RFC 5280): P-256, SHA-256, for servers and clients that trust it by itself.
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";
import { bits, element, identifier, octets, positive, sequence, set, time, truth, utf8 } from "./der.ts";
import { pem } from "./pem.ts";

const HOST_NAME = /^(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;
const DAY = 86_400_000;
/** Clocks differ: a certificate that is made here is to be good there at once. */
const SLACK = 300_000;

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

export function generateCertificate(host: string, days: number): KeyAndCertificate {
  const pair = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const pkcs8 = pair.privateKey.export({ format: "der", type: "pkcs8" });
  const now = Date.now();
  const notAfter = new Date(now + days * DAY);
  const algorithm = sequence(identifier("1.2.840.10045.4.3.2"));
  const name = sequence(set(sequence(identifier("2.5.4.3"), utf8(host))));
  const serial = randomBytes(16);
  serial[0] = 0x40 | ((serial[0] ?? 0) & 0x3f);
  const unsigned = sequence(
    element(0xa0, positive(Buffer.from([2]))),
    positive(serial),
    algorithm,
    name,
    sequence(time(new Date(now - SLACK)), time(notAfter)),
    name,
    pair.publicKey.export({ format: "der", type: "spki" }),
    element(0xa3, sequence(...extensions(host))),
  );
  const certificate = sequence(unsigned, algorithm, bits(sign("sha256", unsigned, pair.privateKey)));
  const key = pem("PRIVATE KEY", pkcs8);
  pkcs8.fill(0);
  const fingerprint = createHash("sha256").update(certificate).digest("hex");
  return { key, certificate: pem("CERTIFICATE", certificate), fingerprint, notAfter };
}

/** No key usage: with one that cannot sign certificates, OpenSSL would not take it for self-signed. */
function extensions(host: string): Buffer[] {
  const purposes = ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"].map(identifier);
  const subject = isIP(host) === 0 ? element(0x82, Buffer.from(host)) : element(0x87, addressBytes(host));
  return [
    sequence(identifier("2.5.29.19"), truth, octets(sequence())),
    sequence(identifier("2.5.29.37"), octets(sequence(...purposes))),
    sequence(identifier("2.5.29.17"), octets(sequence(subject))),
  ];
}

/** 4 or 16 bytes in network order. */
function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split(".").map(Number));
  // The URL parser writes an address in full hexadecimal groups, with at most one "::".
  const [head = "", tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const [before, after] = [hexGroups(head), hexGroups(tail ?? "")];
  const all = [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

function hexGroups(text: string): number[] {
  return text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
}
