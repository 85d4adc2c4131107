// Somebody who can write the store's file: whatever he does to a row, it is refused, or nothing of it can be seen. Rows
// that are put back as they were earlier are another matter, and another test's.
import { afterEach, beforeEach, describe, test } from "vitest";
import { toHatchwayError } from "#error";
import { openMemoryStore } from "#store/memory";
import type { Row, Store } from "#store";
import { openVault } from "#vault/open";
import { BLIND_ROWS } from "#vault/rows";
import type { Vault } from "#vault";
import { admin, guest, TestVault } from "#test/kit/vault";

const VALUE = "the value itself, which nobody sees";
const KINDS = ["head", "rewrap", "secret:", "renamed:", "value:", "vm:", "grants:", "holder:", "ledger:"];
/** Whether each byte of each row is tried, and not a sample of those of the larger rows. */
const EVERY = process.env["HATCHWAY_TAMPER"] === "every";

/** A store whose rows have been edited by somebody else: `edits` stand for the rows of their keys, undefined for none. */
class EditedStore implements Store {
  readonly edits = new Map<string, Row | undefined>();
  /** Whether an edited row was asked for by its key. */
  wasRead = false;
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  #edited(key: string, row: Row | undefined): Row | undefined {
    return this.edits.has(key) ? this.edits.get(key) : row;
  }

  async read(keys: readonly string[]): ReturnType<Store["read"]> {
    const { revision, rows } = await this.#store.read(keys);
    this.wasRead ||= keys.some((key) => this.edits.has(key));
    return { revision, rows: rows.map((row, at) => this.#edited(keys[at] ?? "", row)) };
  }

  async list(prefix: string, options: { after?: string; limit: number }): ReturnType<Store["list"]> {
    const page = await this.#store.list(prefix, options);
    return { ...page, rows: page.rows.map((row) => this.#edited(row.key, row)).filter((row) => row !== undefined) };
  }

  epoch: Store["epoch"] = () => this.#store.epoch();
  revision: Store["revision"] = () => this.#store.revision();
  commit: Store["commit"] = (change) => this.#store.commit(change);
  committed: Store["committed"] = (opId) => this.#store.committed(opId);
  watch: Store["watch"] = (from, listener) => this.#store.watch(from, listener);
  /** The vault is opened over it again and again. */
  close: Store["close"] = async () => undefined;
}

let store: EditedStore;
let made: TestVault;
let vmIds: string[];

beforeEach(async () => {
  const real = openMemoryStore();
  store = new EditedStore(real);
  made = await TestVault.open({ below: () => store });
  await made.set("db", VALUE);
  await made.set("old-name", "another");
  const web = await made.vm("web", "db", "old-name");
  const api = await made.vm("api", "db");
  vmIds = [web.id, api.id];
  await made.vault.renameSecret(admin, "old-name", "tls");
  for (const { id } of [web, api]) await made.vault.claim(guest(id), Buffer.alloc(32, id));
  await made.vault.keys.rotate(admin);
  await made.set("db", VALUE);
  await made.vault.keys.rewrap(admin);
  while ((await made.vault.keys.rewrapProgress(admin)).state === "running") await new Promise(setImmediate);
  for (const { id } of [web, api]) await made.seen(id, "db");
  // A store has one owner at a time.
  await made.stop();
});

afterEach(() => made[Symbol.asyncDispose]());

async function allRows(): Promise<Row[]> {
  const pages = await Promise.all(KINDS.map((kind) => store.list(kind, { limit: 100 })));
  return pages.flatMap((page) => page.rows);
}

/** All that can be asked of a vault, each with the answer or the code of the refusal. */
async function everything(): Promise<Map<string, string>> {
  const said = new Map<string, string>();
  const ask = async (what: string, question: (open: Vault) => Promise<unknown>): Promise<void> => {
    said.set(what, await question(vault).then((answer) => JSON.stringify(answer), refusalOf));
  };
  let vault: Vault;
  try {
    vault = await openVault(store, made.places, { mode: "session", uid: 1000 });
  } catch (error) {
    return new Map([["open", refusalOf(error)]]);
  }
  for (const name of ["db", "tls"]) {
    await ask(`secret ${name}`, (open) => open.secret(admin, name));
    await ask(`history ${name}`, (open) => open.history(admin, name));
    await ask(`holders ${name}`, (open) => open.holders(admin, name));
  }
  for (const name of ["web", "api"]) {
    await ask(`vm ${name}`, (open) => open.vm(admin, name));
    await ask(`grants ${name}`, (open) => open.grants(admin, name));
  }
  await ask("secrets", (open) => open.secrets(admin));
  await ask("vms", (open) => open.vms(admin));
  for (const id of vmIds) {
    await ask(`proves ${id}`, (open) => open.proves(guest(id), Buffer.alloc(32, id)));
    await ask(`bundle ${id}`, async (open) => {
      const bundle = await open.resolve(guest(id), id);
      const opened = await bundle.disclose(bundle.manifest.entries);
      const values = await Promise.all(bundle.manifest.entries.map(opened));
      return [bundle.manifest.entries, values.map(String)];
    });
  }
  await vault.close();
  return said;
}

function refusalOf(error: unknown): string {
  return `refused: ${toHatchwayError(error).code}`;
}

/**
 * What is wrong about a vault over these edited rows: an answer that it did not give `before`, unless it is that the
 * store is corrupt; or none of these though the rows were asked for.
 */
async function faults(before: Map<string, string>, ...edits: [string, Row | undefined][]): Promise<string[]> {
  store.wasRead = false;
  for (const [key, row] of edits) store.edits.set(key, row);
  const after = await everything();
  store.edits.clear();
  const differing = [...after].filter(([what, answer]) => answer !== before.get(what));
  if (differing.length === 0) return store.wasRead ? ["the row was read, and nothing refused"] : [];
  return differing.filter(([, answer]) => answer !== "refused: corrupt").map((pair) => pair.join(": "));
}

/** Positions of a row's bytes to edit. */
function positions({ length }: Buffer): number[] {
  const all = Array.from({ length }, (_, at) => at);
  return EVERY ? all : all.filter((at) => [0, 3, 4, 7, 8, length - 1].includes(at) || at % 41 === 0);
}

describe("a row of the store", () => {
  test("with any byte changed is refused, whatever kind it is", { timeout: 900_000 }, async ({ expect }) => {
    const before = await everything();
    const all = await allRows();
    expect(new Set(all.map(({ key }) => key.replace(/(?<=:).*/, "")))).toEqual(new Set(KINDS));
    for (const row of all) {
      for (const at of positions(row.bytes)) {
        const bytes = Buffer.from(row.bytes);
        bytes[at] = (bytes[at] ?? 0) ^ 0x01;
        expect(await faults(before, [row.key, { ...row, bytes }]), `${row.key}, byte ${at}`).toEqual([]);
      }
    }
  });

  test("that is cut, empty or has more bytes is refused", async ({ expect }) => {
    const before = await everything();
    for (const row of await allRows()) {
      const cuts = [0, 1, 8, 20, 68, row.bytes.length - 1].map((size) => row.bytes.subarray(0, size));
      for (const bytes of [...cuts, Buffer.concat([row.bytes, Buffer.alloc(1)])]) {
        if (bytes.length === row.bytes.length) continue;
        expect(await faults(before, [row.key, { ...row, bytes }]), `${row.key}: ${bytes.length} bytes`).toEqual([]);
      }
    }
  });

  test("in the place of any other is refused", { timeout: 300_000 }, async ({ expect }) => {
    const before = await everything();
    const all = await allRows();
    for (const [at, one] of all.entries()) {
      for (const other of all.slice(at + 1)) {
        const swapped: [string, Row][] = [
          [one.key, { ...one, bytes: other.bytes }],
          [other.key, { ...other, bytes: one.bytes }],
        ];
        expect(await faults(before, ...swapped), `${one.key} and ${other.key}`).toEqual([]);
        // With the count of its writes as well, which the store keeps beside the bytes.
        swapped[0]![1].version = other.version;
        swapped[1]![1].version = one.version;
        expect(await faults(before, ...swapped), `${one.key} and ${other.key}, with versions`).toEqual([]);
      }
    }
  });

  test("that says another term is refused, whether there is such a term or not", async ({ expect }) => {
    const before = await everything();
    for (const row of await allRows()) {
      for (const term of [0, 1, 2, 3, 0xffffffff]) {
        const bytes = Buffer.from(row.bytes);
        if (bytes.readUInt32BE(4) === term) continue;
        bytes.writeUInt32BE(term, 4);
        expect(await faults(before, [row.key, { ...row, bytes }]), `${row.key}: term ${term}`).toEqual([]);
      }
    }
  });

  test("whose count of writes is another is refused, where it is not written blindly", async ({ expect }) => {
    const before = await everything();
    for (const row of await allRows()) {
      if (BLIND_ROWS.has(row.key) || row.key.startsWith("value:")) continue;
      for (const version of [row.version + 1, 0]) {
        expect(await faults(before, [row.key, { ...row, version }]), `${row.key}: ${version}`).toEqual([]);
      }
    }
  });
});
