// The vault's rows, as the store sees them: a key without meaning and sealed bytes.
//
//   head                    audit anchor                       record, written with every mutation
//   rewrap                  whether a rewrap is under way      record
//   secret:NAME             name, version, delivery …          record
//   renamed:SECRET          its name now, once it was renamed  record; for grants that say an older one
//   value:SECRET:VERSION    one version's bytes                value
//   vm:NAME                 name, runner, how to start …       record
//   grants:VM               all that a VM was given            record
//   holder:SECRET:VM        the same the other way round       record; may be there without the grant, never the reverse
//   ledger:VM               counters, claim, receipt           record
//   folder                  the plain folder of the secrets    record; where there is one
//
// SECRET and VM are random ids of 128 bits in hex, never used again; NAME is the first 128 bits of HMAC-SHA256 of the
// name, so that a store tells no names and yet finds one. VERSION is eight hex digits.
//
// Associated data of each: "hatchway 1 row" NUL | store id 16 | key | NUL | version, u64 big-endian. A record's version
// is the store's count of its writes; what a value holds never changes, `head` and `rewrap` are written blindly: they say 0.
import { createHmac, randomBytes } from "node:crypto";
import type { Row, Store } from "#store";
import { isValue, openRecord, openValue, rewrapValue, sealRecord, sealValue } from "#vault/envelope";
import type { Keyring } from "#vault/keyring";
import { OpenedRecords } from "#vault/opened";

const ROW = Buffer.from("hatchway 1 row\0");
const PAGE = 1_000;
/** Written whatever was there, by who knows their newest content: their place says version 0. */
export const BLIND_ROWS: ReadonlySet<string> = new Set(["head", "rewrap"]);

/** A record as it was read, with what is needed to write it again. */
export interface Stored<T> {
  key: string;
  version: number;
  record: T;
}

export type Put = { key: string; version?: number; bytes: Buffer };

/** Seals and opens rows, and knows their keys. It does not commit: that is the gate's, with its audit line. */
export class Rows {
  readonly #store: Store;
  readonly #keyring: Keyring;
  readonly #opened = new OpenedRecords();

  constructor(store: Store, keyring: Keyring) {
    this.#store = store;
    this.#keyring = keyring;
  }

  static newId(): string {
    return randomBytes(16).toString("hex");
  }

  get keyringEdition(): number {
    return this.#keyring.edition;
  }

  secretKey(name: string): string {
    return `secret:${this.#blind("secret", name)}`;
  }

  vmKey(name: string): string {
    return `vm:${this.#blind("vm", name)}`;
  }

  static renamedKey(secretId: string): string {
    return `renamed:${secretId}`;
  }

  static valueKey(secretId: string, version: number): string {
    return `value:${secretId}:${version.toString(16).padStart(8, "0")}`;
  }

  /** The record of `key`, or undefined. Throws "corrupt" if it does not open in its place. */
  async get<T>(key: string): Promise<Stored<T> | undefined> {
    const { rows } = await this.#store.read([key]);
    return rows[0] && this.#known<T>(rows[0]);
  }

  /** In the order of `keys`, all of one revision. */
  async getAll<T>(keys: readonly string[]): Promise<(Stored<T> | undefined)[]> {
    if (keys.length === 0) return [];
    const { rows } = await this.#store.read(keys);
    return rows.map((row) => row && this.#known<T>(row));
  }

  async list<T>(prefix: string): Promise<Stored<T>[]> {
    const found: Stored<T>[] = [];
    const open = async (rows: readonly Row[]): Promise<void> => {
      for (const row of rows) found.push(this.#known<T>(row, "offer"));
    };
    for (let page = await this.#store.list(prefix, { limit: PAGE }); ;) {
      const after = page.more ? page.rows.at(-1)?.key : undefined;
      // The store reads the next page while this one is opened.
      const coming = after === undefined ? undefined : this.#store.list(prefix, { limit: PAGE, after });
      const [next] = await Promise.all([coming, open(page.rows)]);
      if (!next) return found;
      page = next;
    }
  }

  /** Keys alone: nothing is opened. */
  async keys(prefix: string): Promise<Row[]> {
    const found: Row[] = [];
    let after: string | undefined;
    for (;;) {
      const page = await this.#store.list(prefix, { limit: PAGE, ...(after !== undefined && { after }) });
      found.push(...page.rows);
      after = page.rows.at(-1)?.key;
      if (!page.more || after === undefined) return found;
    }
  }

  /** The value's bytes, for the caller to wipe; undefined where they are not in the store. */
  async value(secretId: string, version: number): Promise<Buffer | undefined> {
    const key = Rows.valueKey(secretId, version);
    const { rows } = await this.#store.read([key]);
    return rows[0] && this.openValue(rows[0]);
  }

  /** The bytes of a value's row, for the caller to wipe. Throws "corrupt" if it does not open in its place. */
  openValue({ key, bytes }: Row): Buffer {
    return openValue(this.#keyring, bytes, this.#place(key, 0));
  }

  /** A write of `record` over `stored`, or of a new row. */
  put<T>(key: string, record: T, stored?: Stored<T>): Put {
    const version = (stored?.version ?? 0) + 1;
    return { key, version, bytes: this.#seal(key, record, version) };
  }

  /** A write that holds whatever was there. */
  putBlind(key: string, record: unknown): Put {
    return { key, bytes: this.#seal(key, record, 0) };
  }

  async getBlind<T>(key: string): Promise<T | undefined> {
    const { rows } = await this.#store.read([key]);
    return rows[0] && this.open<T>({ ...rows[0], version: 0 }).record;
  }

  putValue(secretId: string, version: number, value: Uint8Array): Put {
    const key = Rows.valueKey(secretId, version);
    return { key, version: 1, bytes: sealValue(this.#keyring, value, this.#place(key, 0)) };
  }

  /** The same row under the current term, to be written over `row`. Throws "corrupt". */
  resealed({ key, version, bytes }: Row): Put {
    const next = version + 1;
    if (isValue(bytes)) return { key, version: next, bytes: rewrapValue(this.#keyring, bytes, this.#place(key, 0)) };
    const plain = openRecord(this.#keyring, bytes, this.#place(key, version));
    return { key, version: next, bytes: sealRecord(this.#keyring, plain, this.#place(key, next)) };
  }

  #seal(key: string, record: unknown, version: number): Buffer {
    return sealRecord(this.#keyring, Buffer.from(JSON.stringify(record)), this.#place(key, version));
  }

  /** As `open`, for what is asked for again and again; one of many is only offered to be kept. The record is frozen. */
  #known<T>(row: Row, how: "keep" | "offer" = "keep"): Stored<T> {
    const known = this.#opened.get(row);
    if (known) return { key: row.key, version: row.version, record: known.record as T };
    const stored = this.open<T>(row);
    this.#opened[how](row, stored.record);
    return stored;
  }

  /** Throws "corrupt" for a record that does not open in its place. */
  open<T>(row: Row): Stored<T> {
    const plain = openRecord(this.#keyring, row.bytes, this.#place(row.key, row.version));
    return { key: row.key, version: row.version, record: JSON.parse(plain.toString()) as T };
  }

  #place(key: string, version: number): Buffer {
    const tail = Buffer.alloc(9);
    tail.writeBigUInt64BE(BigInt(version), 1);
    return Buffer.concat([ROW, this.#keyring.storeId, Buffer.from(key), tail]);
  }

  #blind(kind: string, name: string): string {
    const mac = createHmac("sha256", this.#keyring.nameKey.object).update(`${kind}\0${name}`).digest();
    return mac.subarray(0, 16).toString("hex");
  }
}
