// What is in the certificates (RFC 5280, section 4.2): of the authority, and of each kind that it issues.
import { createPublicKey, type KeyObject, type X509Certificate } from "node:crypto";
import {
  alternativeNames,
  authorityKeyId,
  basicConstraints,
  commonName,
  EMPTY_NAME,
  extendedKeyUsage,
  keyIdOf,
  keyUsage,
  newSerial,
  signCertificate,
  SLACK,
  subjectKeyId,
} from "#keygen/x509";
import type { Issued } from "./issued.ts";

/** DER; signed by its own key. Nothing below it may sign another. */
export function authorityCertificate(key: KeyObject, name: Buffer, notAfter: Date): Buffer {
  const id = keyIdOf(key);
  return signCertificate(
    {
      serial: newSerial(),
      issuer: name,
      subject: name,
      publicKey: createPublicKey(key),
      notBefore: new Date(Date.now() - SLACK),
      notAfter,
      extensions: [basicConstraints(true), keyUsage(true), subjectKeyId(id), authorityKeyId(id)],
    },
    key,
  );
}

/** Who a VM is, in its certificate: its name, for people, and its id, which counts. */
export function guestUris(name: string, id: string): string[] {
  return [`hatchway:vm:${name}`, `hatchway:vm-id:${id}`];
}

const GUEST_NAMES = /^URI:hatchway:vm:[A-Za-z0-9._-]{1,63}, URI:hatchway:vm-id:([0-9a-f]{32})$/;

/** The VM of a guest's certificate, whose signature has been checked; undefined for one that names none. */
export function vmIdOf({ subjectAltName }: X509Certificate): string | undefined {
  return GUEST_NAMES.exec(subjectAltName ?? "")?.[1];
}

/** DER. */
export function bearerCertificate(
  one: Issued,
  serial: Buffer,
  key: KeyObject,
  authority: X509Certificate,
  signer: KeyObject,
): Buffer {
  return signCertificate(
    {
      serial,
      issuer: commonName(authority.subject.replace(/^CN=/, "")),
      // A guest has no common name, by which the admin API would know him: its certificate opens nothing there.
      subject: one.kind === "guest" ? EMPTY_NAME : commonName(one.name),
      publicKey: createPublicKey(key),
      notBefore: new Date(one.notBefore),
      notAfter: new Date(one.notAfter),
      extensions: [
        basicConstraints(false),
        keyUsage(false),
        extendedKeyUsage(one.kind === "server" ? "server" : "client"),
        subjectKeyId(keyIdOf(key)),
        authorityKeyId(keyIdOf(signer)),
        ...namesOf(one),
      ],
    },
    signer,
  );
}

/** Of a client there is no other name than the common one. */
function namesOf({ kind, name, hosts = [], vmId = "" }: Issued): Buffer[] {
  switch (kind) {
    case "server":
      return [alternativeNames(hosts.map((host) => ({ host })))];
    case "client":
      return [];
    case "guest":
      return [
        alternativeNames(
          guestUris(name, vmId).map((uri) => ({ uri })),
          true,
        ),
      ];
  }
}
