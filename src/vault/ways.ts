// The ways to the root key. Each turns something that a host or a person has into a key that opens it, and is enough
// on its own. At start they are tried in the order of `ORDER`: first what asks nobody.
import { argon2, randomBytes } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { HatchwayError } from "#error";
import { readPrivateFile, writeDurably } from "#host/files";
import type { NewWay, Opener, Way, WayKind } from "#keys";
import { valueBuffer } from "#value-buffer";
import { ageOpen, ageSeal } from "#vault/age";
import { Key, KEY_SIZE, open, seal } from "#vault/envelope";
import { derive, keyringPlace, type StoredWay } from "#vault/keyring-file";

/** Where a process may look for what opens the root key. */
export interface WaySources {
  /** Absolute path of the key file: 32 bytes, 0600. */
  keyFile: string;
  /** `$CREDENTIALS_DIRECTORY` (systemd.exec(5)), if it is set. */
  credentials?: string;
  /** Asks a person for a passphrase, which is wiped after; only where there is a terminal. */
  askPassphrase?: (label: string) => Promise<Buffer>;
  /** What somebody brought: only ways of its kind are tried, and with nothing else. Stays whose it is. */
  given?: Opener;
}

export const ORDER: readonly WayKind[] = ["key-file", "systemd-credential", "age", "passphrase"];
/** The credential that a passphrase is read from. */
export const PASSPHRASE_CREDENTIAL = "hatchway-passphrase";
/** argon2id's costs (RFC 9106, section 4, second choice): 64 MiB, three passes, four lanes. */
export const PASSPHRASE_COSTS = { memory: 65_536, passes: 3, lanes: 4 };
const MIN_PASSPHRASE = 8;
const MAX_PASSPHRASE = 1_024;

/** Seals the root key by a new way. Throws "invalid" for what cannot be one. */
export async function sealWay(
  root: Key,
  storeId: Buffer,
  name: string,
  way: NewWay,
  sources: WaySources,
): Promise<StoredWay> {
  const sealed = (key: Key): string => seal(key, root.bytes, keyringPlace(storeId, `way ${name}`)).toString("base64");
  switch (way.kind) {
    case "key-file": {
      const path = way.path ?? sources.keyFile;
      if ((await readPrivateFile(path, 4096))?.fill(0) === undefined) {
        using fresh = Key.random();
        await writeDurably(path, fresh.bytes);
      }
      using key = await keyOfFile(path, storeId);
      return { name, kind: way.kind, ...(way.path !== undefined && { path: way.path }), sealed: sealed(key) };
    }
    case "systemd-credential": {
      using given = copyOfKey(way.key, `the key for the credential "${way.credential}"`);
      using key = derive(given, storeId, "way systemd-credential");
      return { name, kind: way.kind, credential: way.credential, sealed: sealed(key) };
    }
    case "age": {
      const { kind, recipient, identity } = way;
      return { name, kind, recipient, identity, sealed: (await ageSeal(recipient, root.bytes)).toString("base64") };
    }
    case "passphrase": {
      checkPassphrase(way.passphrase);
      const costs = { salt: randomBytes(16).toString("base64"), ...PASSPHRASE_COSTS };
      using key = await keyOfPassphrase(way.passphrase, storeId, costs);
      return { name, kind: way.kind, ...costs, sealed: sealed(key) };
    }
  }
}

/** The root key. Throws "wrong-key", or what reading threw, if this way does not lead to it now. */
export async function openWay(storeId: Buffer, way: StoredWay, sources: WaySources): Promise<Key> {
  const opened = (key: Key, what: string): Key => {
    try {
      return new Key(open(key, Buffer.from(way.sealed, "base64"), keyringPlace(storeId, `way ${way.name}`)));
    } catch (cause) {
      throw new HatchwayError("wrong-key", `${what} does not open the keyring`, { hint: LOST[way.kind], cause });
    }
  };
  switch (way.kind) {
    case "key-file": {
      const path = way.path ?? sources.keyFile;
      if (sources.given) {
        using given = copyOfKey(sources.given.secret, "the key file that was given");
        using key = derive(given, storeId, "way key-file");
        return opened(key, "the key file that was given");
      }
      using key = await keyOfFile(path, storeId);
      return opened(key, `the key file "${path}"`);
    }
    case "systemd-credential": {
      const bytes = await credential(sources, way.credential, KEY_SIZE);
      if (!bytes) throw missing(way);
      using given = copyOfKey(bytes, `the credential "${way.credential}"`);
      bytes.fill(0);
      using key = derive(given, storeId, "way systemd-credential");
      return opened(key, `the credential "${way.credential}"`);
    }
    case "age": {
      const identity = copyOf(sources.given?.secret) ?? (await readPrivateFile(way.identity, 65_536));
      if (!identity) throw missing(way);
      try {
        const path = sources.given ? undefined : way.identity;
        const root = await ageOpen(path, identity, Buffer.from(way.sealed, "base64"));
        if (root.length === KEY_SIZE) return new Key(root);
        throw new HatchwayError("wrong-key", `what is sealed to "${way.recipient}" is not a root key`);
      } finally {
        identity.fill(0);
      }
    }
    case "passphrase": {
      const passphrase = await passphraseFrom(sources);
      if (!passphrase) throw missing(way);
      try {
        using key = await keyOfPassphrase(passphrase, storeId, way);
        return opened(key, "the passphrase");
      } finally {
        passphrase.fill(0);
      }
    }
  }
}

/** Whether every way needs a person who types, and there is nobody to ask. */
export async function needsPerson(ways: readonly StoredWay[], sources: WaySources): Promise<boolean> {
  if (sources.askPassphrase || sources.given || ways.some(({ kind }) => kind !== "passphrase")) return false;
  const typed = await passphraseFrom(sources);
  typed?.fill(0);
  return typed === undefined;
}

export function describeWay(way: StoredWay, keyFile: string): Way {
  const needs = {
    "key-file": () => (way.kind === "key-file" && way.path) || keyFile,
    "systemd-credential": () => (way.kind === "systemd-credential" ? way.credential : ""),
    age: () => (way.kind === "age" ? `${way.recipient}, identity ${way.identity}` : ""),
    passphrase: () => `a terminal, or the credential ${PASSPHRASE_CREDENTIAL}`,
  };
  return { name: way.name, kind: way.kind, needs: needs[way.kind]() };
}

const LOST: Record<WayKind, string> = {
  "key-file": "put back the key file that the store was made with",
  "systemd-credential": "start it by the unit that has the LoadCredentialEncrypted= it was sealed for",
  age: "put back the age identity",
  passphrase: "type it again, or put it into the credential",
};

function missing(way: StoredWay): HatchwayError {
  const what = {
    "key-file": "",
    "systemd-credential": `there is no credential "${way.kind === "systemd-credential" ? way.credential : ""}"`,
    age: `there is no age identity "${way.kind === "age" ? way.identity : ""}"`,
    passphrase: `there is no terminal to ask for the passphrase, and no credential "${PASSPHRASE_CREDENTIAL}"`,
  };
  return new HatchwayError("wrong-key", what[way.kind], { hint: LOST[way.kind] });
}

async function keyOfFile(path: string, storeId: Buffer): Promise<Key> {
  const bytes = await readPrivateFile(path, 4096);
  if (!bytes) {
    throw new HatchwayError("wrong-key", `there is no key file "${path}", and the store is sealed by it`, {
      hint: LOST["key-file"],
    });
  }
  if (bytes.length !== KEY_SIZE) {
    bytes.fill(0);
    throw new HatchwayError("wrong-key", `the key file "${path}" has ${bytes.length} bytes, not ${KEY_SIZE}`);
  }
  using key = new Key(bytes);
  return derive(key, storeId, "way key-file");
}

function copyOfKey(bytes: Buffer, what: string): Key {
  const copy = copyOf(bytes);
  if (copy?.length === KEY_SIZE) return new Key(copy);
  copy?.fill(0);
  throw new HatchwayError("wrong-key", `${what} has ${bytes.length} bytes, not ${KEY_SIZE}`);
}

function copyOf(secret: Buffer | undefined): Buffer | undefined {
  if (!secret) return undefined;
  const copy = valueBuffer(secret.length);
  secret.copy(copy);
  return copy;
}

const deriveByArgon2 = promisify(argon2);

async function keyOfPassphrase(
  passphrase: Buffer,
  storeId: Buffer,
  { salt, memory, passes, lanes }: { salt: string; memory: number; passes: number; lanes: number },
): Promise<Key> {
  const nonce = Buffer.from(salt, "base64");
  if (nonce.length < 16 || memory < 8 * lanes) {
    throw new HatchwayError("corrupt", "a passphrase's way in the keyring has a salt or costs that are none");
  }
  const parameters = { message: passphrase, nonce, parallelism: lanes, tagLength: KEY_SIZE, memory, passes };
  using key = new Key(await deriveByArgon2("argon2id", parameters));
  return derive(key, storeId, "way passphrase");
}

function checkPassphrase(passphrase: Buffer): void {
  if (passphrase.length >= MIN_PASSPHRASE && passphrase.length <= MAX_PASSPHRASE) return;
  throw new HatchwayError(
    "invalid",
    `the passphrase has ${passphrase.length} bytes: it should have ${MIN_PASSPHRASE} to ${MAX_PASSPHRASE}`,
  );
}

/** From the credential, without the newline at its end, else from a person. */
async function passphraseFrom(sources: WaySources): Promise<Buffer | undefined> {
  if (sources.given) return copyOf(sources.given.secret);
  const bytes = await credential(sources, PASSPHRASE_CREDENTIAL, MAX_PASSPHRASE + 1);
  if (!bytes) return sources.askPassphrase?.("passphrase of the store (hidden): ");
  return bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
}

/** systemd makes them 0400, of the unit's user, in a folder that only he can enter. */
async function credential({ credentials }: WaySources, name: string, limit: number): Promise<Buffer | undefined> {
  return credentials === undefined ? undefined : readPrivateFile(join(credentials, name), limit);
}
