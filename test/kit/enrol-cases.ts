// Enrolments with told keys, computed by Node's own cryptography and written out by hand: what host and agent have to agree
// on. Kept in test/vectors/enrol.json.
import {
  createCipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { readFileSync } from "node:fs";

export const ENROL_VECTORS: URL = new URL("../vectors/enrol.json", import.meta.url);

/** All in hex, but for the word, which is a line. */
export interface EnrolCase {
  word: string;
  guestScalar: string;
  guest: string;
  generation: number;
  nonce: string;
  transcript: string;
  mac: string;
  replyKey: string;
  claim: string;
  sealed: string;
}

const PRIVATE = Buffer.from("302e020100300506032b656e04220420", "hex");

function fixed(purpose: string, size: number): Buffer {
  return Buffer.from(hkdfSync("sha256", "vectors", "", purpose, size));
}

function keyOf(scalar: Buffer): { key: KeyObject; raw: Buffer } {
  const key = createPrivateKey({ key: Buffer.concat([PRIVATE, scalar]), format: "der", type: "pkcs8" });
  return { key, raw: createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32) };
}

const hex = (bytes: Buffer): string => bytes.toString("hex");

function enrolCase(name: string, generation: number): EnrolCase {
  const vm = fixed(`${name} vm`, 16);
  const [token, nonce] = [fixed(`${name} token`, 32), fixed(`${name} nonce`, 32)];
  const claim = fixed(`${name} claim`, 32);
  const guestScalar = fixed(`${name} guest`, 32);
  const [host, guest] = [keyOf(fixed(`${name} host`, 32)), keyOf(guestScalar)];
  const count = Buffer.alloc(8);
  count.writeBigUInt64BE(BigInt(generation));
  const transcript = Buffer.concat([Buffer.from("hatchway enrol 1\n"), host.raw, guest.raw, vm, count, nonce]);
  const shared = diffieHellman({ privateKey: guest.key, publicKey: createPublicKey(host.key) });
  const info = Buffer.concat([Buffer.from("reply\n"), transcript]);
  const replyKey = Buffer.from(hkdfSync("sha256", shared, token, info, 32));
  const cipher = createCipheriv("chacha20-poly1305", replyKey, Buffer.alloc(12), { authTagLength: 16 });
  return {
    word: `1.${hex(vm)}.${hex(token)}.${hex(host.raw)}`,
    guestScalar: hex(guestScalar),
    guest: hex(guest.raw),
    generation,
    nonce: hex(nonce),
    transcript: hex(transcript),
    mac: createHmac("sha256", token).update(transcript).digest("hex"),
    replyKey: hex(replyKey),
    claim: hex(claim),
    sealed: hex(Buffer.concat([cipher.update(claim), cipher.final(), cipher.getAuthTag()])),
  };
}

export function enrolCases(): EnrolCase[] {
  return [enrolCase("first", 1), enrolCase("second", 4_294_967_297), enrolCase("third", Number.MAX_SAFE_INTEGER)];
}

/** As they are on disk. */
export function enrolVectors(): EnrolCase[] {
  return JSON.parse(readFileSync(ENROL_VECTORS, "utf8")) as EnrolCase[];
}

export function enrolText(): string {
  return `${JSON.stringify(enrolCases(), undefined, 2)}\n`;
}
