// The keyring file, JSON. It holds nothing that is not sealed, and is MACed as a whole under the root key:
//
//   { "format": 1, "store": HEX16, "edition": 1, "ways": [WAY, …], "current": 1,
//     "terms": [{ "term": 1, "created": RFC3339, "sealed": BASE64 }], "mac": HEX32 }
//
// A WAY (src/vault/ways.ts) seals the root key:
//
//   { "name": "key-file", "kind": "key-file", "sealed": BASE64 }                           and "path", if not the usual
//   { "name": …, "kind": "systemd-credential", "credential": NAME, "sealed": BASE64 }
//   { "name": …, "kind": "passphrase", "salt": BASE64, "memory": KIB, "passes": 3, "lanes": 4, "sealed": BASE64 }
//   { "name": …, "kind": "age", "recipient": "age1…", "identity": PATH, "sealed": BASE64 of an age file }
//
// `sealed` is nonce 12 | ciphertext 32 | tag 16, but for age. A keyring of a time when there was one way has no names.
import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { HatchwayError } from "#error";
import { readPrivateFile, writeDurably } from "#host/files";
import { valueBuffer } from "#value-buffer";
import { Key, KEY_SIZE } from "#vault/envelope";

export type StoredWay =
  | { name: string; kind: "key-file"; path?: string; sealed: string }
  | { name: string; kind: "systemd-credential"; credential: string; sealed: string }
  | { name: string; kind: "passphrase"; salt: string; memory: number; passes: number; lanes: number; sealed: string }
  | { name: string; kind: "age"; recipient: string; identity: string; sealed: string };

/** All of the file but its MAC, keys in their order. */
export interface KeyringBody {
  format: number;
  store: string;
  /**
   * Grows with each write, so that an older file that is put back is told from the newest; one that is made again from a
   * backup has the milliseconds since 1970. Absent in a keyring of a time when there was none.
   */
  edition?: number;
  ways: StoredWay[];
  current: number;
  terms: { term: number; created: string; sealed: string }[];
}

export interface KeyringFile {
  body: KeyringBody;
  /** As it was read, which is what the MAC is over. */
  text: string;
  mac: string;
}

/** Undefined where there is no file. Throws "corrupt" or "unsupported" for what is no keyring; the MAC is not checked. */
export async function readKeyring(path: string): Promise<KeyringFile | undefined> {
  const bytes = await readPrivateFile(path, 1_048_576);
  if (!bytes) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new HatchwayError("corrupt", `the keyring "${path}" is not JSON`, { cause });
  }
  if (!isObject(json) || typeof json["format"] !== "number") {
    throw new HatchwayError("corrupt", `the keyring "${path}" does not begin as a keyring does`);
  }
  if (json["format"] !== 1) {
    const problem = `the keyring "${path}" has format ${json["format"]}; this version reads format 1`;
    throw new HatchwayError("unsupported", problem, {
      hint: "start the version of hatchway that made it; nothing was changed",
    });
  }
  const { mac, ...rest } = json;
  const text = JSON.stringify(rest);
  const named = Array.isArray(rest["ways"])
    ? rest["ways"].map((way: unknown) => (isObject(way) ? withName(way) : way))
    : 0;
  const body = { ...rest, ways: named };
  if (!isWhole(body) || typeof mac !== "string") {
    throw new HatchwayError("corrupt", `the keyring "${path}" lacks a part`);
  }
  return { body, text, mac };
}

export async function writeKeyring(path: string, root: Key, body: KeyringBody): Promise<void> {
  const mac = macOf(root, Buffer.from(body.store, "hex"), JSON.stringify(body)).toString("hex");
  await writeDurably(path, Buffer.from(`${JSON.stringify({ ...body, mac }, undefined, 2)}\n`));
}

/** Throws "corrupt" unless the file is what was written under `root`. */
export function checkMac(path: string, root: Key, { body, text, mac }: KeyringFile): void {
  const expected = macOf(root, Buffer.from(body.store, "hex"), text);
  const said = Buffer.from(mac, "hex");
  if (said.length !== expected.length || !timingSafeEqual(said, expected)) {
    throw new HatchwayError("corrupt", `the keyring "${path}" was edited: its MAC does not hold`);
  }
}

/** HKDF-SHA256 (RFC 5869) of `key`, with the store's id as its salt. */
export function derive(key: Key, storeId: Buffer, purpose: string): Key {
  const derived = hkdfSync("sha256", key.bytes, storeId, `hatchway 1 ${purpose}`, KEY_SIZE);
  const bytes = valueBuffer(KEY_SIZE);
  const view = Buffer.from(derived);
  view.copy(bytes);
  view.fill(0);
  return new Key(bytes);
}

/** What a seal in the keyring is bound to. */
export function keyringPlace(storeId: Buffer, what: string): Buffer {
  return Buffer.concat([Buffer.from("hatchway 1 keyring\0"), storeId, Buffer.from(what)]);
}

function macOf(root: Key, storeId: Buffer, text: string): Buffer {
  using key = derive(root, storeId, "keyring mac");
  return createHmac("sha256", key.bytes).update(text).digest();
}

function withName(way: Record<string, unknown>): Record<string, unknown> {
  return { name: way["kind"], ...way };
}

/** Whether each part has its type; what the parts say, the MAC and the seals show. */
function isWhole(file: Record<string, unknown>): file is Record<string, unknown> & KeyringBody {
  const { store, edition = 0, ways, current, terms } = file;
  return (
    typeof store === "string" &&
    Number.isSafeInteger(edition) &&
    /^[0-9a-f]{32}$/.test(store) &&
    Array.isArray(ways) &&
    ways.every((way) => isObject(way) && isWay(way)) &&
    Number.isSafeInteger(current) &&
    Array.isArray(terms) &&
    terms.every(isTerm)
  );
}

const WAY_TEXTS: Record<StoredWay["kind"], readonly string[]> = {
  "key-file": [],
  "systemd-credential": ["credential"],
  passphrase: ["salt"],
  age: ["recipient", "identity"],
};
/** Bounds that the MAC cannot check in time: deriving a key comes before it. KiB, passes, lanes. */
const COSTS = { memory: 1_048_576, passes: 32, lanes: 16 };

function isWay(way: Record<string, unknown>): boolean {
  const { name, kind, sealed, path } = way;
  if (typeof name !== "string" || typeof kind !== "string" || typeof sealed !== "string") return false;
  if (!Object.hasOwn(WAY_TEXTS, kind) || (path !== undefined && typeof path !== "string")) return false;
  if (!WAY_TEXTS[kind as StoredWay["kind"]].every((key) => typeof way[key] === "string")) return false;
  if (kind !== "passphrase") return true;
  return Object.entries(COSTS).every(([key, most]) => {
    const cost = way[key];
    return typeof cost === "number" && Number.isSafeInteger(cost) && cost >= 1 && cost <= most;
  });
}

function isTerm(term: unknown): boolean {
  return (
    isObject(term) &&
    Number.isSafeInteger(term["term"]) &&
    typeof term["created"] === "string" &&
    typeof term["sealed"] === "string"
  );
}

function isObject(json: unknown): json is Record<string, unknown> {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}
