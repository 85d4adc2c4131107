// A revocation list as it is read: RFC 5280, section 5. `CertificateList` is
//
//   SEQUENCE { unsigned SEQUENCE { [version INTEGER] algorithm, issuer, thisUpdate, [nextUpdate],
//              [SEQUENCE OF SEQUENCE { serial INTEGER, date, [extensions] }], [[0] extensions] },
//              algorithm, signature BIT STRING }
import { verify, X509Certificate, type KeyObject } from "node:crypto";
import { HatchwayError } from "#error";
import { identifier } from "./der.ts";
import { readElements, readSequence, type Element } from "./der-reader.ts";

const INTEGER = 0x02;
const BIT_STRING = 0x03;
const SEQUENCE = 0x30;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;

/** The digest of a signature's algorithm; null: it has none of its own. */
const DIGESTS: readonly (readonly [algorithm: Buffer, digest: string | null])[] = [
  [identifier("1.2.840.10045.4.3.2"), "sha256"],
  [identifier("1.2.840.10045.4.3.3"), "sha384"],
  [identifier("1.2.840.10045.4.3.4"), "sha512"],
  [identifier("1.2.840.113549.1.1.11"), "sha256"],
  [identifier("1.2.840.113549.1.1.12"), "sha384"],
  [identifier("1.2.840.113549.1.1.13"), "sha512"],
  [identifier("1.3.101.112"), null],
];

export interface Revocations {
  /** Serial numbers in hex as Node shows those of certificates: capitals, whole bytes. */
  serials: ReadonlySet<string>;
  /** When there should be a newer list, in milliseconds since 1970; TLS takes no certificate after that. */
  nextUpdate?: number;
}

/**
 * Reads a list in PEM that one of the authorities in `authorities` (PEM) has signed. Throws HatchwayError "corrupt" for
 * anything else; `path` is for its words.
 */
export function readRevocations(path: string, list: Buffer, authorities: Buffer): Revocations {
  const [block, another] = pemBlocks(list, "X509 CRL");
  if (!block || another) throw unreadable(path, "it should be one X509 CRL in PEM");
  let parts: ReturnType<typeof take>;
  try {
    parts = take(block);
  } catch (cause) {
    throw unreadable(path, "it is not a revocation list of RFC 5280", cause);
  }
  const signers = pemBlocks(authorities, "CERTIFICATE").map((der) => new X509Certificate(der).publicKey);
  if (!signers.some((key) => isSignedBy(parts, key))) throw unreadable(path, "none of its authorities has signed it");
  const { serials, nextUpdate } = parts;
  return { serials, ...(nextUpdate !== undefined && { nextUpdate }) };
}

function take(der: Buffer): {
  unsigned: Buffer;
  digest: string | null;
  signature: Buffer;
  serials: Set<string>;
  nextUpdate: number | undefined;
} {
  const [unsigned, algorithm, signature] = readSequence(der);
  if (!unsigned || !algorithm || signature?.tag !== BIT_STRING || signature.content[0] !== 0) {
    throw new RangeError("not three parts");
  }
  const digest = digestOf(algorithm);
  const fields = readSequence(unsigned.whole);
  if (fields[0]?.tag === INTEGER) fields.shift();
  const [algorithmAgain, issuer, thisUpdate, ...rest] = fields;
  if (!algorithmAgain?.whole.equals(algorithm.whole) || !issuer) throw new RangeError("no algorithm, or another one");
  if (!thisUpdate || !isTime(thisUpdate)) throw new RangeError("no date");
  const next = rest[0] && isTime(rest[0]) ? rest.shift() : undefined;
  const entries = rest[0]?.tag === SEQUENCE ? readElements(rest[0].content) : [];
  return {
    unsigned: unsigned.whole,
    digest,
    signature: signature.content.subarray(1),
    serials: new Set(entries.map(serialOf)),
    nextUpdate: next && timeOf(next),
  };
}

function serialOf({ whole }: Element): string {
  const [serial] = readSequence(whole);
  if (serial?.tag !== INTEGER) throw new RangeError("an entry without a serial number");
  return serial.content
    .toString("hex")
    .toUpperCase()
    .replace(/^00(?=.)/, "");
}

function digestOf({ whole }: Element): string | null {
  const [name] = readSequence(whole);
  const found = DIGESTS.find(([algorithm]) => name?.whole.equals(algorithm));
  if (found) return found[1];
  throw new RangeError("a signature of an unknown kind");
}

function isSignedBy({ unsigned, digest, signature }: ReturnType<typeof take>, key: KeyObject): boolean {
  return verify(digest, unsigned, key, signature);
}

function isTime({ tag }: Element): boolean {
  return tag === UTC_TIME || tag === GENERALIZED_TIME;
}

function timeOf({ tag, content }: Element): number {
  const digits = content.toString("latin1");
  const full = tag === UTC_TIME ? `${Number(digits.slice(0, 2)) < 50 ? "20" : "19"}${digits}` : digits;
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full) ?? [];
  const time = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(time)) throw new RangeError("a date that is none");
  return time;
}

/** What the blocks of a label hold (RFC 7468). */
export function pemBlocks(text: Buffer, label: string): Buffer[] {
  const block = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]*)-----END ${label}-----`, "g");
  return Array.from(text.toString("latin1").matchAll(block), ([, base64 = ""]) => Buffer.from(base64, "base64"));
}

function unreadable(path: string, why: string, cause?: unknown): HatchwayError {
  return new HatchwayError("corrupt", `"${path}" is not taken as a revocation list: ${why}`, { cause });
}
