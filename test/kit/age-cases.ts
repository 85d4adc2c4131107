// age files, good and hostile, the same bytes each time: sealed here by Node's own cryptography, with keys that are told.
import {
  createCipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
} from "node:crypto";
import { readFileSync } from "node:fs";
import { ageIdentity } from "#keygen/age-identity";

export const AGE_VECTORS: URL = new URL("../vectors/age/", import.meta.url);

export interface AgeCase {
  /** Its name under test/vectors/age/. */
  file: string;
  outcome: "ok" | "refused";
  /** Text that the agent's refusal holds. */
  rule: string;
  /** Whether the program age takes what the agent refuses: where the agent is stricter. */
  laxer?: true;
  /** Of what is in it, when it is taken. */
  sha256?: string;
  bytes: Buffer;
}

const CHUNK = 65_536;

/** Bytes for a purpose: no secret, and always the same. */
function fixed(purpose: string, size: number): Buffer {
  return Buffer.from(hkdfSync("sha256", "vectors", "", purpose, size));
}

/** PKCS #8 and SPKI of X25519 (RFC 8410) without their 32 bytes. */
const PRIVATE = Buffer.from("302e020100300506032b656e04220420", "hex");
const PUBLIC = Buffer.from("302a300506032b656e032100", "hex");

const privateKey = (scalar: Buffer) =>
  createPrivateKey({ key: Buffer.concat([PRIVATE, scalar]), format: "der", type: "pkcs8" });
const publicOf = (scalar: Buffer): Buffer =>
  createPublicKey(privateKey(scalar)).export({ format: "der", type: "spki" }).subarray(-32);

function exchange(scalar: Buffer, point: Buffer): Buffer {
  const publicKey = createPublicKey({ key: Buffer.concat([PUBLIC, point]), format: "der", type: "spki" });
  return diffieHellman({ privateKey: privateKey(scalar), publicKey });
}

function sealed(key: Buffer, nonce: Buffer, plain: Buffer): Buffer {
  const cipher = createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function derive(secret: Buffer, salt: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, salt, info, 32));
}

const text = (bytes: Buffer): string => bytes.toString("base64").replaceAll("=", "");

/** The scalar of test/vectors/age/key.txt. */
const SCALAR: Buffer = fixed("identity", 32);
const OTHER = fixed("another identity", 32);
const FILE_KEY = fixed("file key", 16);

function stanza(scalar: Buffer, purpose: string): string {
  const ephemeral = fixed(purpose, 32);
  const [share, own] = [publicOf(ephemeral), publicOf(scalar)];
  const wrapping = derive(exchange(ephemeral, own), Buffer.concat([share, own]), "age-encryption.org/v1/X25519");
  return `-> X25519 ${text(share)}\n${text(sealed(wrapping, Buffer.alloc(12), FILE_KEY))}\n`;
}

const OURS = stanza(SCALAR, "share");
const THEIRS = stanza(OTHER, "share of another");
const GREASE = "-> x-grease one two\nAAAA\n";

function header(stanzas: string, { first = "age-encryption.org/v1" } = {}): Buffer {
  const start = `${first}\n${stanzas}---`;
  const mac = createHmac("sha256", derive(FILE_KEY, Buffer.alloc(0), "header"))
    .update(start)
    .digest();
  return Buffer.from(`${start} ${text(mac)}\n`);
}

/** Chunks as age seals them; `last` says which of them is. */
function chunks(plain: Buffer, last?: number): Buffer[] {
  const key = derive(FILE_KEY, fixed("nonce", 16), "payload");
  const count = Math.max(1, Math.ceil(plain.length / CHUNK));
  return Array.from({ length: count }, (_, at) => {
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32BE(at, 7);
    nonce[11] = at === (last ?? count - 1) ? 1 : 0;
    return sealed(key, nonce, plain.subarray(at * CHUNK, (at + 1) * CHUNK));
  });
}

function file(plain: Buffer, start: Buffer = header(OURS), parts: Buffer[] = chunks(plain)): Buffer {
  return Buffer.concat([start, fixed("nonce", 16), ...parts]);
}

/** An age file of the key of these vectors. */
export function ageFile(plain: Buffer): Buffer {
  return file(plain);
}

function good(name: string, plain: Buffer, start?: Buffer): AgeCase {
  const sha256 = createHash("sha256").update(plain).digest("hex");
  return { file: `good-${name}.age`, outcome: "ok", rule: "", sha256, bytes: file(plain, start) };
}

function bad(name: string, rule: string, bytes: Buffer): AgeCase {
  return { file: `bad-${name}.age`, outcome: "refused", rule, bytes };
}

const PLAIN = Buffer.from("correct horse battery staple\n");
const HEADER = "its header is not as one should be";
const MIDDLE = "it ends in the middle";
const CHANGED = "it was cut or changed";

/** Those that are kept as files. */
export function ageCases(): AgeCase[] {
  const whole = file(PLAIN);
  const start = header(OURS).toString("latin1");
  const edited = (from: string, to: string): Buffer => file(PLAIN, Buffer.from(start.replace(from, to), "latin1"));
  const flipped = (at: number): Buffer => {
    const bytes = Buffer.from(whole);
    bytes[at] = (bytes.at(at) ?? 0) ^ 1;
    return bytes;
  };
  const share = /X25519 (.{43})/.exec(start)?.[1] ?? "";
  return [
    good("empty", Buffer.alloc(0)),
    good("one-byte", Buffer.from("x")),
    good("text", PLAIN),
    good("two-recipients", PLAIN, header(THEIRS + OURS)),
    good("unknown-recipient", PLAIN, header(GREASE + OURS)),
    bad("other-key", "sealed to another key", file(PLAIN, header(THEIRS))),
    {
      ...bad("two-unknown", "more than one recipient of an unknown type", file(PLAIN, header(GREASE + GREASE + OURS))),
      laxer: true,
    },
    bad("only-unknown", "sealed to another key", file(PLAIN, header(GREASE))),
    bad("no-recipient", HEADER, file(PLAIN, header(""))),
    bad("version", "does not begin as an age file", file(PLAIN, header(OURS, { first: "aqe-encryption.org/v1" }))),
    bad("version-2", "its version is not 1", file(PLAIN, header(OURS, { first: "age-encryption.org/v2" }))),
    bad(
      "armored",
      "it is armored",
      Buffer.from("-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n"),
    ),
    bad(
      "mac",
      "its header was changed",
      edited(/--- (.)/.exec(start)?.[0] ?? "", `--- ${start.includes("--- A") ? "B" : "A"}`),
    ),
    bad("mac-short", HEADER, edited("--- ", "--- A")),
    bad("stanza-added", "its header was changed", file(PLAIN, Buffer.from(start.replace("->", `${GREASE}->`)))),
    bad("share-short", HEADER, edited(share, share.slice(1))),
    bad("share-zero", "of low order", edited(share, "A".repeat(43))),
    bad("share-bits", "base64: bits behind its last byte", edited(share, `${share.slice(0, 42)}B`)),
    bad("share-twice", HEADER, edited(share, `${share} ${share}`)),
    bad("crlf", "is not printable ascii", file(PLAIN, Buffer.from(start.replaceAll("\n", "\r\n")))),
    bad("padded", HEADER, edited(share, `${share}=`)),
    bad("header-cut", MIDDLE, whole.subarray(0, 60)),
    bad(
      "header-long",
      "a header of more than 16384 bytes",
      Buffer.from(`age-encryption.org/v1\n-> x ${"a".repeat(20_000)}\n`),
    ),
    bad("no-payload", MIDDLE, header(OURS)),
    bad("nonce-cut", MIDDLE, whole.subarray(0, start.length + 15)),
    bad("no-chunk", MIDDLE, whole.subarray(0, start.length + 16)),
    bad("tag-cut", MIDDLE, whole.subarray(0, start.length + 16 + 15)),
    bad("cut", CHANGED, whole.subarray(0, -1)),
    bad("trailing", CHANGED, Buffer.concat([whole, Buffer.alloc(1)])),
    bad("nonce", CHANGED, flipped(start.length)),
    bad("value", CHANGED, flipped(start.length + 16)),
    bad("tag", CHANGED, flipped(whole.length - 1)),
    bad("not-last", CHANGED, file(PLAIN, header(OURS), chunks(PLAIN, 9))),
  ];
}

/** Those of several chunks, which are made when they are needed. */
export function longAgeCases(): AgeCase[] {
  const plain = fixedLong(2 * CHUNK + 100);
  const parts = chunks(plain);
  const [first = Buffer.alloc(0), second = Buffer.alloc(0), third = Buffer.alloc(0)] = parts;
  const of = (...all: Buffer[]): Buffer => file(plain, header(OURS), all);
  return [
    ...[CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 100].map((size) => good(`${size}`, fixedLong(size))),
    bad("reordered", CHANGED, of(second, first, third)),
    bad("left-out", CHANGED, of(first, third)),
    bad("twice", CHANGED, of(first, first, second, third)),
    bad("without-last", CHANGED, of(first, second)),
    bad("early-last", CHANGED, file(plain, header(OURS), chunks(plain, 1))),
    bad("cut-at-chunk", CHANGED, of(first)),
    bad("empty-second", CHANGED, emptySecond()),
  ].map((each) => Object.assign(each, { file: `long-${each.file}` }));
}

/** A whole chunk that is not the last, and an empty one that is: one plaintext would have two forms. */
function emptySecond(): Buffer {
  const key = derive(FILE_KEY, fixed("nonce", 16), "payload");
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(1, 7);
  nonce[11] = 1;
  const plain = fixedLong(CHUNK);
  return file(plain, header(OURS), [...chunks(plain, 9), sealed(key, nonce, Buffer.alloc(0))]);
}

function fixedLong(size: number): Buffer {
  return Buffer.alloc(size, fixed("plaintext", 251));
}

/** The vectors as they are on disk. */
export function ageVectors(): AgeCase[] {
  const rows = JSON.parse(readFileSync(new URL("index.json", AGE_VECTORS), "utf8")) as Omit<AgeCase, "bytes">[];
  return rows.map((row) => Object.assign(row, { bytes: readFileSync(new URL(row.file, AGE_VECTORS)) }));
}

/** key.txt: the identity that opens them, as age-keygen would have written it. */
export function ageKeyText(): string {
  return `# opens the vectors beside it, and nothing else\n${ageIdentity(SCALAR).toString("latin1")}`;
}

/** index.json: one row a line. */
export function ageIndexText(cases: readonly AgeCase[]): string {
  const rows = cases.map(({ bytes: _bytes, ...row }) => JSON.stringify(row));
  return `[\n${rows.join(",\n")}\n]\n`;
}
