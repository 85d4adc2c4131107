// The keys, from the outside in:
//
//   way (a key file, for now)  seals  root key  seals  terms  seal  records, and the data keys of values
//
// The keyring file, JSON, holds nothing that is not sealed, and is MACed as a whole under the root key:
//
//   { "format": 1, "store": HEX16, "ways": [{ "kind": "key-file", "sealed": BASE64 }], "current": 1,
//     "terms": [{ "term": 1, "created": RFC3339, "sealed": BASE64 }], "mac": HEX32 }
//
// `sealed` is nonce 12 | ciphertext 32 | tag 16. A way's key is HKDF-SHA256 (RFC 5869) of the key file's 32 bytes. The
// root key gives, by HKDF too, the keys that outlive terms: of names, of the audit and of the MAC.
import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto";
import { HatchwayError } from "#error";
import { valueBuffer } from "#value-buffer";
import { readPrivateFile, writeDurably } from "#host/files";
import { Key, KEY_SIZE, open, seal, type TermKeys } from "#vault/envelope";

interface KeyringFile {
  format: number;
  store: string;
  ways: { kind: "key-file"; sealed: string }[];
  current: number;
  terms: { term: number; created: string; sealed: string }[];
  mac: string;
}

/** The opened keys of one store. Disposing wipes them. */
export class Keyring implements TermKeys, Disposable {
  /** 16 random bytes that name the store; part of every seal's associated data. */
  readonly storeId: Buffer;
  readonly current: number;
  /** For the blind index of names. */
  readonly nameKey: Key;
  readonly auditKey: Key;
  readonly #terms: Map<number, Key>;

  constructor(storeId: Buffer, root: Key, terms: Map<number, Key>, current: number) {
    this.storeId = storeId;
    this.current = current;
    this.#terms = terms;
    this.nameKey = derive(root, storeId, "names");
    this.auditKey = derive(root, storeId, "audit");
  }

  key(term: number): Key {
    const key = this.#terms.get(term);
    if (!key) throw new HatchwayError("corrupt", `a row is sealed under term ${term}, which the keyring does not have`);
    return key;
  }

  [Symbol.dispose](): void {
    for (const key of [...this.#terms.values(), this.nameKey, this.auditKey]) key[Symbol.dispose]();
  }
}

/** Makes a keyring with one term, and the key file where there is none yet. */
export async function createKeyring(path: string, keyFile: string): Promise<Keyring> {
  if ((await readPrivateFile(keyFile, 4096))?.fill(0) === undefined) {
    using fresh = Key.random();
    await writeDurably(keyFile, fresh.bytes);
  }
  const storeId = randomBytes(16);
  using root = Key.random();
  using wayKey = await readKeyFile(keyFile, storeId);
  const term = Key.random();
  const file: Omit<KeyringFile, "mac"> = {
    format: 1,
    store: storeId.toString("hex"),
    ways: [{ kind: "key-file", sealed: seal(wayKey, root.bytes, place(storeId, "way key-file")).toString("base64") }],
    current: 1,
    terms: [
      {
        term: 1,
        created: new Date().toISOString(),
        sealed: seal(root, term.bytes, place(storeId, "term 1")).toString("base64"),
      },
    ],
  };
  const mac = macOf(root, storeId, file).toString("hex");
  await writeDurably(path, Buffer.from(`${JSON.stringify({ ...file, mac }, undefined, 2)}\n`));
  return new Keyring(storeId, root, new Map([[1, term]]), 1);
}

/** Undefined where there is no keyring. Throws "wrong-key" if the key file does not open it, "corrupt" if it was edited. */
export async function openKeyring(path: string, keyFile: string): Promise<Keyring | undefined> {
  const bytes = await readPrivateFile(path, 1_048_576);
  if (!bytes) return undefined;
  const file = parseKeyring(path, bytes);
  const { mac, ...rest } = file;
  const storeId = Buffer.from(file.store, "hex");
  using wayKey = await readKeyFile(keyFile, storeId);
  using root = openWay(path, keyFile, file, wayKey, storeId);
  const expected = macOf(root, storeId, rest);
  const said = Buffer.from(mac, "hex");
  if (said.length !== expected.length || !timingSafeEqual(said, expected)) {
    throw new HatchwayError("corrupt", `the keyring "${path}" was edited: its MAC does not hold`);
  }
  const terms = new Map<number, Key>();
  for (const { term, sealed } of file.terms) {
    terms.set(term, new Key(open(root, Buffer.from(sealed, "base64"), place(storeId, `term ${term}`))));
  }
  return new Keyring(storeId, root, terms, file.current);
}

function openWay(path: string, keyFile: string, file: KeyringFile, wayKey: Key, storeId: Buffer): Key {
  const way = file.ways.find(({ kind }) => kind === "key-file");
  if (!way) throw new HatchwayError("corrupt", `the keyring "${path}" has no way by key file`);
  try {
    return new Key(open(wayKey, Buffer.from(way.sealed, "base64"), place(storeId, "way key-file")));
  } catch (cause) {
    throw new HatchwayError("wrong-key", `the key file "${keyFile}" does not open the keyring "${path}"`, {
      hint: "put back the key file that the store was made with",
      cause,
    });
  }
}

async function readKeyFile(keyFile: string, storeId: Buffer): Promise<Key> {
  const bytes = await readPrivateFile(keyFile, 4096);
  if (!bytes) {
    throw new HatchwayError("wrong-key", `there is no key file "${keyFile}", and the store is sealed by it`, {
      hint: "put back the key file that the store was made with",
    });
  }
  if (bytes.length !== KEY_SIZE) {
    bytes.fill(0);
    throw new HatchwayError("wrong-key", `the key file "${keyFile}" has ${bytes.length} bytes, not ${KEY_SIZE}`);
  }
  using key = new Key(bytes);
  return derive(key, storeId, "way key-file");
}

function parseKeyring(path: string, bytes: Buffer): KeyringFile {
  let file: unknown;
  try {
    file = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new HatchwayError("corrupt", `the keyring "${path}" is not JSON`, { cause });
  }
  if (!isObject(file) || typeof file["format"] !== "number") {
    throw new HatchwayError("corrupt", `the keyring "${path}" does not begin as a keyring does`);
  }
  if (file["format"] !== 1) {
    const problem = `the keyring "${path}" has format ${file["format"]}; this version reads format 1`;
    throw new HatchwayError("unsupported", problem);
  }
  if (!isWhole(file)) throw new HatchwayError("corrupt", `the keyring "${path}" lacks a part`);
  return file;
}

/** Whether each part has its type; what the parts say, the MAC and the seals show. */
function isWhole(file: Record<string, unknown>): file is Record<string, unknown> & KeyringFile {
  const { store, ways, current, terms, mac } = file;
  return (
    typeof store === "string" &&
    /^[0-9a-f]{32}$/.test(store) &&
    Array.isArray(ways) &&
    ways.every((way) => isObject(way) && typeof way["kind"] === "string" && typeof way["sealed"] === "string") &&
    Number.isSafeInteger(current) &&
    Array.isArray(terms) &&
    terms.every((term) => isObject(term) && Number.isSafeInteger(term["term"]) && typeof term["sealed"] === "string") &&
    typeof mac === "string"
  );
}

function isObject(json: unknown): json is Record<string, unknown> {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

function derive(key: Key, storeId: Buffer, purpose: string): Key {
  const derived = hkdfSync("sha256", key.bytes, storeId, `hatchway 1 ${purpose}`, KEY_SIZE);
  const bytes = valueBuffer(KEY_SIZE);
  const view = Buffer.from(derived);
  view.copy(bytes);
  view.fill(0);
  return new Key(bytes);
}

function place(storeId: Buffer, what: string): Buffer {
  return Buffer.concat([Buffer.from("hatchway 1 keyring\0"), storeId, Buffer.from(what)]);
}

function macOf(root: Key, storeId: Buffer, file: Omit<KeyringFile, "mac">): Buffer {
  using key = derive(root, storeId, "keyring mac");
  return createHmac("sha256", key.bytes).update(JSON.stringify(file)).digest();
}
