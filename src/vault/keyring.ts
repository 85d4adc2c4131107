// The keys, from the outside in:
//
//   ways (key file, credential, age, passphrase)  each seal  root key  seals  terms  seal  records, and data keys of values
//
// The root key gives, by HKDF, the keys that outlive terms: of names, of the audit, of the tree over all rows
// and of the keyring's MAC. How the
// file looks is in src/vault/keyring-file.ts.
import { randomBytes } from "node:crypto";
import { HatchwayError, toHatchwayError } from "#error";
import type { NewWay, Term, Way } from "#keys";
import { encodeKeyBackup, type KeyBackup } from "#vault/key-backup";
import { Key, open, seal, type TermKeys } from "#vault/envelope";
import { checkMac, derive, keyringPlace, readKeyring, writeKeyring } from "#vault/keyring-file";
import type { KeyringBody, KeyringFile } from "#vault/keyring-file";
import { Mutex } from "#mutex";
import { describeWay, openWay, ORDER, sealWay, type WaySources } from "#vault/ways";

const WAY_NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;

/** The opened keys of one store. Disposing wipes them. Only who has the store changes the file. */
export class Keyring implements TermKeys, Disposable {
  /** 16 random bytes that name the store; part of every seal's associated data. */
  readonly storeId: Buffer;
  /** For the blind index of names. */
  readonly nameKey: Key;
  readonly auditKey: Key;
  /** For the tree over all rows, src/store/tree-store.ts. */
  readonly treeKey: Key;
  /** Tokens of enrolment come from it. */
  readonly enrolKey: Key;
  /** The name of the way that opened it. */
  readonly openedBy: string;
  readonly #path: string;
  readonly #sources: WaySources;
  readonly #root: Key;
  readonly #terms: Map<number, Key>;
  readonly #edits = new Mutex();
  #body: KeyringBody;

  constructor(path: string, sources: WaySources, root: Key, body: KeyringBody, openedBy: string) {
    this.openedBy = openedBy;
    this.storeId = Buffer.from(body.store, "hex");
    this.#path = path;
    this.#sources = sources;
    this.#root = root;
    this.#body = body;
    this.#terms = new Map(body.terms.map(({ term, sealed }) => [term, this.#openTerm(term, sealed)]));
    this.nameKey = derive(root, this.storeId, "names");
    this.auditKey = derive(root, this.storeId, "audit");
    this.treeKey = derive(root, this.storeId, "tree");
    this.enrolKey = derive(root, this.storeId, "enrol");
  }

  /** The term that new seals are made under. */
  get current(): number {
    return this.#body.current;
  }

  get ways(): Way[] {
    return this.#body.ways.map((way) => describeWay(way, this.#sources.keyFile));
  }

  get terms(): Pick<Term, "term" | "created">[] {
    return this.#body.terms.map(({ term, created }) => ({ term, created: Date.parse(created) }));
  }

  /** Of the file: see KeyringBody. */
  get edition(): number {
    return this.#body.edition ?? 0;
  }

  key(term: number): Key {
    const key = this.#terms.get(term);
    if (key) return key;
    const newest = Math.max(...this.#terms.keys());
    const why = term > newest ? `the keyring is older, its newest is ${newest}` : "it was retired";
    throw new HatchwayError("corrupt", `a row is sealed under term ${term}, which the keyring does not have: ${why}`, {
      hint: "put back the newest keyring.json of this store",
    });
  }

  /** Seals the root key by one more way. Throws "exists", "invalid". */
  async addWay(name: string, way: NewWay): Promise<Way> {
    checkWayName(name);
    let added: Way | undefined;
    await this.#edit(async (body) => {
      if (body.ways.some((other) => other.name === name)) {
        throw new HatchwayError("exists", `there is a way "${name}" already`, { hint: "give it another --name" });
      }
      const stored = await sealWay(this.#root, this.storeId, name, way, this.#sources);
      added = describeWay(stored, this.#sources.keyFile);
      return { ...body, ways: [...body.ways, stored] };
    });
    if (!added) throw new HatchwayError("internal", "a way was not added");
    return added;
  }

  /** Throws "not-found", and "conflict" for the last one. */
  async removeWay(name: string): Promise<void> {
    await this.#edit((body) => {
      const ways = body.ways.filter((way) => way.name !== name);
      if (ways.length === body.ways.length) throw new HatchwayError("not-found", `there is no way "${name}"`);
      if (ways.length === 0) {
        throw new HatchwayError("conflict", `"${name}" is the last way to the keys`, {
          hint: "add another one first: hatchway key add-way",
        });
      }
      return { ...body, ways };
    });
  }

  /** Makes a new term, which all new seals are made under from then on. */
  async addTerm(): Promise<number> {
    using fresh = Key.random();
    let term = 0;
    await this.#edit((body) => {
      term = Math.max(...body.terms.map((old) => old.term)) + 1;
      const sealed = seal(this.#root, fresh.bytes, keyringPlace(this.storeId, `term ${term}`)).toString("base64");
      // Known before it is the current one, and only in use once it is on disk.
      this.#terms.set(term, this.#openTerm(term, sealed));
      return { ...body, current: term, terms: [...body.terms, { term, created: new Date().toISOString(), sealed }] };
    });
    return term;
  }

  /** Forgets an old term, which nothing may be sealed under any more. */
  async dropTerm(term: number): Promise<void> {
    await this.#edit((body) => ({ ...body, terms: body.terms.filter((other) => other.term !== term) }));
    this.#terms.get(term)?.[Symbol.dispose]();
    this.#terms.delete(term);
  }

  /** Throws "not-found" for a term that there is not, "conflict" for the current one. */
  checkOldTerm(term: number): void {
    if (!this.#terms.has(term)) throw new HatchwayError("not-found", `there is no term ${term}`);
    if (term !== this.current) return;
    throw new HatchwayError("conflict", `term ${term} is the current one`, {
      hint: "make another: hatchway key rotate",
    });
  }

  /** All that opens the store, as text for a backup that is sealed at once; the caller wipes it. */
  exportKeys(): Buffer {
    const { storeId, current } = this;
    const terms = this.#body.terms.map(({ term, created }) => ({ term, created, key: this.key(term) }));
    return encodeKeyBackup({ storeId, root: this.#root, current, terms });
  }

  [Symbol.dispose](): void {
    const derived = [this.nameKey, this.auditKey, this.treeKey, this.enrolKey];
    for (const key of [...this.#terms.values(), ...derived, this.#root]) key[Symbol.dispose]();
  }

  /** Writes what `change` makes of the file, one change at a time; then it holds. */
  async #edit(change: (body: KeyringBody) => Promise<KeyringBody> | KeyringBody): Promise<void> {
    await this.#edits.run("file", async () => {
      const body = { ...(await change(this.#body)), edition: this.edition + 1 };
      await writeKeyring(this.#path, this.#root, body);
      this.#body = body;
    });
  }

  #openTerm(term: number, sealed: string): Key {
    return new Key(open(this.#root, Buffer.from(sealed, "base64"), keyringPlace(this.storeId, `term ${term}`)));
  }
}

export function checkWayName(name: string): void {
  if (WAY_NAME.test(name)) return;
  throw new HatchwayError("invalid", `"${name.slice(0, 80)}" is not a way's name: 1 to 32 of a-z 0-9 -, no - first`);
}

/** Makes a keyring with one term and one way: the key file, made where there is none yet, unless another is given. */
export async function createKeyring(
  path: string,
  sources: WaySources,
  way: NewWay = { kind: "key-file" },
  name: string = way.kind,
): Promise<Keyring> {
  const storeId = randomBytes(16);
  const root = Key.random();
  using term = Key.random();
  const body: KeyringBody = {
    format: 1,
    store: storeId.toString("hex"),
    edition: 1,
    ways: [await sealWay(root, storeId, name, way, sources)],
    current: 1,
    terms: [
      {
        term: 1,
        created: new Date().toISOString(),
        sealed: seal(root, term.bytes, keyringPlace(storeId, "term 1")).toString("base64"),
      },
    ],
  };
  await writeKeyring(path, root, body);
  return new Keyring(path, sources, root, body, name);
}

/** Writes the keyring of a backup, with one way to it. */
export async function restoreKeyring(
  path: string,
  { storeId, root, current, terms }: KeyBackup,
  sources: WaySources,
  way: NewWay,
  name: string,
): Promise<Way> {
  const stored = await sealWay(root, storeId, name, way, sources);
  await writeKeyring(path, root, {
    format: 1,
    store: storeId.toString("hex"),
    edition: Date.now(),
    ways: [stored],
    current,
    terms: terms.map(({ term, created, key }) => ({
      term,
      created,
      sealed: seal(root, key.bytes, keyringPlace(storeId, `term ${term}`)).toString("base64"),
    })),
  });
  return describeWay(stored, sources.keyFile);
}

/**
 * Undefined where there is no keyring. Throws "wrong-key" if no way leads to the root key now, "corrupt" if the file was
 * edited.
 */
export async function openKeyring(path: string, sources: WaySources): Promise<Keyring | undefined> {
  const file = await readKeyring(path);
  if (!file) return undefined;
  const { root, by } = await openRoot(path, file, sources);
  try {
    checkMac(path, root, file);
    return new Keyring(path, sources, root, file.body, by);
  } catch (error) {
    root[Symbol.dispose]();
    throw error;
  }
}

/** By the first way that leads there. */
async function openRoot(path: string, { body }: KeyringFile, sources: WaySources): Promise<{ root: Key; by: string }> {
  const storeId = Buffer.from(body.store, "hex");
  const { given } = sources;
  const tried = body.ways.filter(({ kind }) => given === undefined || kind === given.kind);
  if (given && tried.length === 0) {
    throw new HatchwayError("invalid", `the keyring "${path}" has no way of the kind ${given.kind}`, {
      hint: `its ways: ${body.ways.map(({ name, kind }) => (name === kind ? kind : `${name} (${kind})`)).join(", ")}`,
    });
  }
  const ways = tried.toSorted((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
  const problems: HatchwayError[] = [];
  for (const way of ways) {
    try {
      return { root: await openWay(storeId, way, sources), by: way.name };
    } catch (error) {
      problems.push(toHatchwayError(error));
    }
  }
  const [first] = problems;
  if (!first) throw new HatchwayError("corrupt", `the keyring "${path}" has no way to its keys`);
  if (problems.length === 1) throw first;
  const why = ways.map(({ name }, at) => `${name} (${problems[at]?.message})`).join(", ");
  throw new HatchwayError("wrong-key", `none of the ${ways.length} ways opens the keyring "${path}": ${why}`, {
    hint: "one of them is enough",
    cause: first,
  });
}
