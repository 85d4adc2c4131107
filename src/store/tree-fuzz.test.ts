// Changes at random against a map, then one row of the store changed at random: whatever is read is right, or refused.
// `HATCHWAY_TREE_ROUNDS` sets how many rounds, 10 without it.
import { createHash, createSecretKey, randomBytes, randomInt } from "node:crypto";
import { it } from "vitest";
import { HatchwayError } from "#error";
import type { Row, Store } from "#store";
import { change } from "#test/kit/store-calls";
import { type TamperedStore, tampered } from "#test/kit/tampered-store";
import { openMemoryStore } from "./memory.ts";
import { openTreeStore } from "./tree-store.ts";

const ROUNDS = Number(process.env["HATCHWAY_TREE_ROUNDS"] ?? 10);
const KINDS = ["secret", "value", "holder"];
const key = createSecretKey(randomBytes(32));

/** As a sealed row: what is in it, and at its end what nobody without the key can make. */
function sealed(text: string): Buffer {
  const content = Buffer.concat([Buffer.from(text), randomBytes(8)]);
  return Buffer.concat([content, createHash("sha256").update(content).digest().subarray(0, 16)]);
}

/** Throws as the vault does for a row that does not open. */
function opened({ bytes }: Row): string {
  const content = bytes.subarray(0, -16);
  const tag = createHash("sha256").update(content).digest().subarray(0, 16);
  if (!tag.equals(bytes.subarray(-16))) throw new HatchwayError("corrupt", "the row does not open");
  return content.toString("latin1", 0, content.length - 8);
}

async function open(raw: Store): Promise<Store> {
  const store = await openTreeStore(raw, key, ["head"]);
  if (store) return store;
  throw new HatchwayError("corrupt", "the tree is gone");
}

async function rowsOf({ store }: TamperedStore): Promise<Row[]> {
  return (await store.list("", { limit: 10_000 })).rows;
}

/** Some changes at once, each of a few rows; the map follows those that are done. */
async function changeSome(store: Store, model: Map<string, string>): Promise<void> {
  const all = Array.from({ length: 12 }, () => {
    const keys = new Set(Array.from({ length: randomInt(1, 6) }, () => `${pick(KINDS)}:${randomInt(300)}`));
    const [first = "", ...rest] = keys;
    const put = [...rest, "head"].map((name) => ({ name, text: `${name} ${randomInt(1e9)}` }));
    return { remove: model.has(first) && randomInt(3) === 0 ? first : undefined, put };
  });
  const versions = new Map((await store.list("", { limit: 10_000 })).rows.map((row) => [row.key, row.version]));
  const results = await Promise.all(
    all.map(({ remove, put }) => {
      const gone = remove === undefined ? [] : [{ key: remove, version: versions.get(remove) ?? 0 }];
      return store.commit(
        change({ put: put.map(({ name, text }) => ({ key: name, bytes: sealed(text) })), delete: gone }),
      );
    }),
  );
  for (const [index, { remove, put }] of all.entries()) {
    if (results[index]?.outcome !== "ok") continue;
    if (remove !== undefined) model.delete(remove);
    for (const { name, text } of put) model.set(name, text);
  }
}

/** Changes one row of the store; `older`: rows of some moment before. */
async function tamper(made: TamperedStore, older: readonly Row[]): Promise<void> {
  const rows = await rowsOf(made);
  const victim = pick(rows);
  const { key: name, version } = victim;
  const bytes = Buffer.from(victim.bytes);
  const before = older.find((row) => row.key === name) ?? pick(older);
  switch (randomInt(6)) {
    case 0:
      return void made.rows.set(name, undefined);
    case 1:
      bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0);
      return void made.rows.set(name, { version, bytes });
    case 2:
      return void made.rows.set(name, { version: version + pick([-1, 1]), bytes });
    case 3:
      return void made.rows.set(name, { version, bytes: pick(rows).bytes });
    case 4:
      return void made.rows.set(`${name.slice(0, -1)}x`, { version, bytes });
    default:
      return void made.rows.set(before.key, before);
  }
}

function pick<T>(all: readonly T[]): T {
  return all[randomInt(all.length)] as T;
}

/** What one asks for, or "refused". */
async function asked<T>(act: () => Promise<T>): Promise<T | "refused"> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof HatchwayError && error.code === "corrupt") return "refused";
    throw error;
  }
}

it("what is read is what was last written, or refused, whatever row was changed", async ({ expect }) => {
  let refused = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const made = tampered(openMemoryStore());
    const model = new Map<string, string>();
    const store = await open(made.store);
    for (let step = 0; step < 12; step += 1) await changeSome(store, model);
    const older = await rowsOf(made);
    for (let step = 0; step < 3; step += 1) await changeSome(store, model);
    for (const [name, text] of model) {
      const [row] = (await store.read([name])).rows;
      expect(row && opened(row)).toBe(text);
    }
    await tamper(made, older);
    const again = await asked(() => open(made.store));
    if (again === "refused") {
      refused += 1;
      continue;
    }
    const keys = [...KINDS.flatMap((kind) => Array.from({ length: 300 }, (_, at) => `${kind}:${at}`)), "head"];
    for (const name of keys) {
      const said = await asked(async () => {
        const [row] = (await again.read([name])).rows;
        return row && opened(row);
      });
      if (said === "refused") refused += 1;
      else expect(said).toBe(model.get(name));
    }
    for (const kind of KINDS) {
      const said = await asked(async () => (await again.list(`${kind}:`, { limit: 1_000 })).rows.map(opened));
      const names = [...model.keys()].filter((name) => name.startsWith(`${kind}:`)).toSorted();
      if (said !== "refused") expect(said).toEqual(names.map((name) => model.get(name)));
    }
  }
  expect(refused).toBeGreaterThan(0);
});
