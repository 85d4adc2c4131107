// The header of an age file (https://age-encryption.org/v1): who can open it, and the key of what follows.
//
//   age-encryption.org/v1
//   -> X25519 SHARE               the sender's public key of this file, in base64 without padding
//   BODY                          the file's key, sealed to the secret that both have
//   --- MAC                       of all before its space, by a key that comes from the file's
import { ascii, asciiBytes } from "#protocol/json";
import { ProtocolError } from "#protocol/error";
import { decodeBase64 } from "./base64.ts";
import { concat } from "./http.ts";
import {
  authenticate,
  derive,
  isEqual,
  NONCE_BYTES,
  openSealed,
  publicKey,
  sharedSecret,
  TAG_BYTES,
} from "./primitives.ts";
import type { Sys } from "./sys.ts";

/** Bytes of a header, at most: of some hundred recipients. */
export const MAX_AGE_HEADER = 16_384;
const FIRST_LINE = "age-encryption.org/v1";
const BODY_LINE = 64;
const FILE_KEY_BYTES = 16;
const WRAP = asciiBytes("age-encryption.org/v1/X25519");
const MAC = asciiBytes("header");

interface Stanza {
  type: string;
  args: string[];
  body: Uint8Array;
}

/** The key of the file with this header, whole; the caller wipes it. Throws ProtocolError. */
export function openAgeHeader(sys: Sys, header: Uint8Array, identity: Uint8Array): Uint8Array {
  const lines = ascii(header, "age").split("\n");
  if (lines[0] !== FIRST_LINE) throw new ProtocolError("age: its version is not 1");
  // The last line ends the header, so that an empty one follows it.
  const mac = decode(/^--- ([A-Za-z0-9+/]{43})$/.exec(lines.at(-2) ?? "")?.[1]);
  const stanzas = parseStanzas(lines.slice(1, -2));
  const unknown = stanzas.filter(({ type }) => type !== "X25519");
  // One is what age's own "grease" is, and what keeps formats extensible; more are no file of ours.
  if (unknown.length > 1) throw new ProtocolError("age: it has more than one recipient of an unknown type");
  const own = publicKey(identity);
  for (const stanza of stanzas) {
    const fileKey = stanza.type === "X25519" ? unwrap(sys, stanza, identity, own) : undefined;
    if (!fileKey) continue;
    const macKey = derive(fileKey, new Uint8Array(0), MAC);
    // The MAC's line counts up to its dashes.
    const isWhole = isEqual(mac, authenticate(macKey, header.subarray(0, header.length - 45)));
    sys.wipe(macKey);
    if (isWhole) return fileKey;
    sys.wipe(fileKey);
    throw new ProtocolError("age: its header was changed");
  }
  throw new ProtocolError("age: it is sealed to another key than this guest's");
}

function parseStanzas(lines: readonly string[]): Stanza[] {
  const stanzas: Stanza[] = [];
  for (let at = 0; at < lines.length;) {
    const words = (lines[at++] ?? "").split(" ");
    const [arrow, type = "", ...args] = words;
    if (arrow !== "->" || words.slice(1).some((word) => !/^[!-~]+$/.test(word))) throw malformed();
    let text = "";
    for (let line = lines[at++]; ; line = lines[at++]) {
      if (line === undefined || !/^[A-Za-z0-9+/]{0,64}$/.test(line)) throw malformed();
      text += line;
      if (line.length < BODY_LINE) break;
    }
    stanzas.push({ type, args, body: decode(text) });
  }
  if (stanzas.length === 0) throw malformed();
  return stanzas;
}

/** The file's key; undefined when it is sealed to somebody else. */
function unwrap(sys: Sys, stanza: Stanza, identity: Uint8Array, own: Uint8Array): Uint8Array | undefined {
  const [text = "", ...others] = stanza.args;
  const share = decode(/^[A-Za-z0-9+/]{43}$/.exec(text)?.[0]);
  if (others.length > 0 || stanza.body.length !== FILE_KEY_BYTES + TAG_BYTES) throw malformed();
  const secret = sharedSecret(identity, share);
  if (!secret) throw new ProtocolError("age: a recipient's share is of low order");
  const wrapping = derive(secret, concat([share, own]), WRAP);
  sys.wipe(secret);
  const fileKey = new Uint8Array(FILE_KEY_BYTES);
  const isOurs = openSealed(wrapping, new Uint8Array(NONCE_BYTES), stanza.body, fileKey);
  sys.wipe(wrapping);
  return isOurs ? fileKey : undefined;
}

/** Base64 without padding; what is absent was none. */
function decode(text: string | undefined): Uint8Array {
  if (text === undefined || text.length % 4 === 1) throw malformed();
  return decodeBase64(asciiBytes(text + "=".repeat((4 - (text.length % 4)) % 4)));
}

function malformed(): ProtocolError {
  return new ProtocolError("age: its header is not as one should be");
}
