// The cryptography of the agent: that of age and of enrolment, by the noble packages, which are plain JavaScript and run
// under QuickJS as under Node. Nothing else of the agent imports them.
//
// Keys are Uint8Arrays for whoever has them to wipe. X25519 computes with BigInts, which no one can wipe; they are gone
// with the next collection of garbage, and no core is dumped (PR_SET_DUMPABLE).
import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { x25519 } from "@noble/curves/ed25519.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";

export const KEY_BYTES = 32;
/** Of ChaCha20-Poly1305 (RFC 8439). */
export const TAG_BYTES = 16;
export const NONCE_BYTES = 12;

/** X25519 (RFC 7748); undefined for a point of low order, whose secret everybody knows. */
export function sharedSecret(scalar: Uint8Array, point: Uint8Array): Uint8Array | undefined {
  try {
    return x25519.getSharedSecret(scalar, point);
  } catch (error) {
    // Both have their length, so that this is all that is left to be wrong.
    if (error instanceof Error && scalar.length === KEY_BYTES && point.length === KEY_BYTES) return undefined;
    throw error;
  }
}

export function publicKey(scalar: Uint8Array): Uint8Array {
  return x25519.getPublicKey(scalar);
}

/** HKDF-SHA256 (RFC 5869), 32 bytes. */
export function derive(secret: Uint8Array, salt: Uint8Array, info: Uint8Array): Uint8Array {
  return hkdf(sha256, secret, salt, info, KEY_BYTES);
}

/** HMAC-SHA256 (RFC 2104). */
export function authenticate(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  return hmac(sha256, key, bytes);
}

/** Opens ChaCha20-Poly1305 into `plain`, which is 16 bytes shorter; false, with nothing written, where the tag is wrong. */
export function openSealed(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, plain: Uint8Array): boolean {
  if (sealed.length < TAG_BYTES || plain.length !== sealed.length - TAG_BYTES) throw new RangeError("plain's length");
  const cipher = chacha20poly1305(key, nonce);
  try {
    cipher.decrypt(sealed, plain);
    return true;
  } catch (error) {
    if (error instanceof Error && error.message === "invalid tag") return false;
    throw error;
  }
}

/** In a time that says nothing about where they differ. */
export function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let at = 0; at < a.length; at++) difference |= (a[at] ?? 0) ^ (b[at] ?? 0);
  return difference === 0;
}
