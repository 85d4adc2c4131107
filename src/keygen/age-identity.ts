// A key pair of age (https://age-encryption.org/v1, "The X25519 recipient type"): both halves in Bech32 (BIP 173).
import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { valueBuffer } from "#value-buffer";

export interface AgeKeyPair {
  /** One line that begins with AGE-SECRET-KEY-1, as age-keygen writes it; for the caller to wipe. */
  identity: Buffer;
  /** Begins with age1. */
  recipient: string;
}

/** An X25519 key ends both of its DER forms (RFC 8410): 32 bytes. */
const SIZE = 32;
/** PKCS #8 of such a key, up to it. */
const PKCS8 = Buffer.from("302e020100300506032b656e04220420", "hex");
const CHARACTERS = Buffer.from("qpzry9x8gf2tvdw0s3jn54khce6mua7l");
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];

export function generateAgeKey(): AgeKeyPair {
  const pair = generateKeyPairSync("x25519");
  const pkcs8 = pair.privateKey.export({ format: "der", type: "pkcs8" });
  const key = pair.publicKey.export({ format: "der", type: "spki" }).subarray(-SIZE);
  const identity = ageIdentity(pkcs8.subarray(-SIZE));
  pkcs8.fill(0);
  return { identity, recipient: bech32("age", key).toString("latin1") };
}

/** Whom to seal to for an identity of these 32 bytes. */
export function ageRecipient(scalar: Uint8Array): string {
  const pkcs8 = Buffer.concat([PKCS8, scalar]);
  try {
    const privateKey = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
    const spki = createPublicKey(privateKey).export({ format: "der", type: "spki" });
    return bech32("age", spki.subarray(-SIZE)).toString("latin1");
  } finally {
    pkcs8.fill(0);
  }
}

/** The line of an identity of these 32 bytes, for the caller to wipe. */
export function ageIdentity(scalar: Uint8Array): Buffer {
  const line = bech32("age-secret-key-", scalar);
  const identity = valueBuffer(line.length + 1);
  // Letters become capitals; digits and the hyphen have that bit already as they should.
  line.forEach((byte, at) => {
    identity[at] = byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte;
  });
  identity[line.length] = 0x0a;
  line.fill(0);
  return identity;
}

/** `prefix`, 1, the bytes in groups of five bits, a checksum of six: in lower case. */
function bech32(prefix: string, bytes: Uint8Array): Buffer {
  const groups = valueBuffer(Math.ceil((bytes.length * 8) / 5));
  groups.fill(0);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const value = ((bytes[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1;
    const group = Math.floor(bit / 5);
    groups[group] = (groups[group] ?? 0) | (value << (4 - (bit % 5)));
  }
  const sum = checksum(prefix, groups);
  const text = valueBuffer(prefix.length + 1 + groups.length + sum.length);
  text.write(`${prefix}1`, "latin1");
  [groups, sum].reduce((at, part) => {
    part.forEach((group, index) => {
      text[at + index] = CHARACTERS[group] ?? 0;
    });
    return at + part.length;
  }, prefix.length + 1);
  groups.fill(0);
  return text;
}

function checksum(prefix: string, groups: Uint8Array): Uint8Array {
  const high = Uint8Array.from(Buffer.from(prefix), (byte) => byte >> 5);
  const low = Uint8Array.from(Buffer.from(prefix), (byte) => byte & 31);
  let sum = 1;
  for (const part of [high, [0], low, groups, new Uint8Array(6)]) {
    for (const group of part) {
      const top = sum >>> 25;
      sum = ((sum & 0x1ffffff) << 5) ^ group;
      GENERATOR.forEach((term, bit) => {
        if ((top >> bit) & 1) sum ^= term;
      });
    }
  }
  sum ^= 1;
  return Uint8Array.from({ length: 6 }, (_, at) => (sum >>> (5 * (5 - at))) & 31);
}
