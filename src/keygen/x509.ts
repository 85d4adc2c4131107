// Certificates and revocation lists (RFC 5280), signed with ECDSA on P-256 and SHA-256: what OpenSSL, Node, Go and curl
// take without being told. Serial numbers have 16 random bytes, the first of them from 0x40 to 0x7f.
import { createHash, createPublicKey, randomBytes, sign, type KeyObject } from "node:crypto";
import { isIP } from "node:net";
import {
  bits,
  element,
  identifier,
  integer,
  namedBits,
  octets,
  positive,
  sequence,
  set,
  time,
  truth,
  utf8,
} from "./der.ts";

const ECDSA_WITH_SHA256 = sequence(identifier("1.2.840.10045.4.3.2"));
const V3 = element(0xa0, positive(Buffer.from([2])));
const V2 = positive(Buffer.from([1]));
/** Milliseconds. Clocks differ: what is made here is to be good there at once. */
export const SLACK = 300_000;

export interface CertificateParts {
  serial: Buffer;
  /** Names as `commonName` makes them. */
  issuer: Buffer;
  subject: Buffer;
  publicKey: KeyObject;
  notBefore: Date;
  notAfter: Date;
  /** In their order. */
  extensions: readonly Buffer[];
}

/** DER. */
export function signCertificate(parts: CertificateParts, signer: KeyObject): Buffer {
  const { serial, issuer, subject, publicKey, notBefore, notAfter, extensions } = parts;
  return signed(
    sequence(
      V3,
      positive(serial),
      ECDSA_WITH_SHA256,
      issuer,
      sequence(time(notBefore), time(notAfter)),
      subject,
      publicKey.export({ format: "der", type: "spki" }),
      element(0xa3, sequence(...extensions)),
    ),
    signer,
  );
}

export interface RevokedCertificate {
  serial: Buffer;
  at: Date;
}

export interface ListParts {
  issuer: Buffer;
  /** Of the key that signs. */
  keyId: Buffer;
  /** Greater than that of any list before. */
  number: number;
  thisUpdate: Date;
  nextUpdate: Date;
  revoked: readonly RevokedCertificate[];
}

/** A revocation list (CRL), in DER. */
export function signRevocations(parts: ListParts, signer: KeyObject): Buffer {
  const { issuer, keyId, number, thisUpdate, nextUpdate, revoked } = parts;
  const entries = revoked.map(({ serial, at }) => sequence(positive(serial), time(at)));
  return signed(
    sequence(
      V2,
      ECDSA_WITH_SHA256,
      issuer,
      time(thisUpdate),
      time(nextUpdate),
      ...(entries.length > 0 ? [sequence(...entries)] : []),
      element(0xa0, sequence(authorityKeyId(keyId), sequence(identifier("2.5.29.20"), octets(integer(number))))),
    ),
    signer,
  );
}

function signed(unsigned: Buffer, signer: KeyObject): Buffer {
  return sequence(unsigned, ECDSA_WITH_SHA256, bits(sign("sha256", unsigned, signer)));
}

export function newSerial(): Buffer {
  const serial = randomBytes(16);
  serial[0] = 0x40 | ((serial[0] ?? 0) & 0x3f);
  return serial;
}

/** The name that says only what its bearer is called. */
export function commonName(name: string): Buffer {
  return sequence(set(sequence(identifier("2.5.4.3"), utf8(name))));
}

/** The name that says nothing; the alternative name then has to be critical. */
export const EMPTY_NAME: Buffer = sequence();

/** The first 160 bits of SHA-256 of the public key (RFC 7093, section 2, method 1). */
export function keyIdOf(key: KeyObject): Buffer {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  // The BIT STRING with the point ends the SubjectPublicKeyInfo: 65 bytes on P-256.
  const point = publicKey.export({ format: "der", type: "spki" }).subarray(-65);
  return createHash("sha256").update(point).digest().subarray(0, 20);
}

// The extensions, each a whole element; those that RFC 5280 wants critical are.

export function basicConstraints(isAuthority: boolean): Buffer {
  return sequence(
    identifier("2.5.29.19"),
    truth,
    octets(isAuthority ? sequence(truth, positive(Buffer.from([0]))) : sequence()),
  );
}

/** An authority signs certificates and lists; anything else signs its handshakes. */
export function keyUsage(isAuthority: boolean): Buffer {
  return sequence(identifier("2.5.29.15"), truth, octets(isAuthority ? namedBits(5, 6) : namedBits(0)));
}

const PURPOSES = { server: "1.3.6.1.5.5.7.3.1", client: "1.3.6.1.5.5.7.3.2" } as const;

export function extendedKeyUsage(...purposes: readonly (keyof typeof PURPOSES)[]): Buffer {
  const all = purposes.map((purpose) => identifier(PURPOSES[purpose]));
  return sequence(identifier("2.5.29.37"), octets(sequence(...all)));
}

export function subjectKeyId(id: Buffer): Buffer {
  return sequence(identifier("2.5.29.14"), octets(octets(id)));
}

export function authorityKeyId(id: Buffer): Buffer {
  return sequence(identifier("2.5.29.35"), octets(sequence(element(0x80, id))));
}

export type AlternativeName = { host: string } | { uri: string };

/** Hosts are names or addresses. */
export function alternativeNames(names: readonly AlternativeName[], critical = false): Buffer {
  const all = names.map((name) => {
    if ("uri" in name) return element(0x86, Buffer.from(name.uri));
    const { host } = name;
    return isIP(host) === 0 ? element(0x82, Buffer.from(host)) : element(0x87, addressBytes(host));
  });
  return sequence(identifier("2.5.29.17"), ...(critical ? [truth] : []), octets(sequence(...all)));
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
