// What somebody who can write a store's file, and has not its keys, may try: each is refused where it is met.
import { createHash, createSecretKey, randomBytes } from "node:crypto";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, onTestFinished } from "vitest";
import type { HatchwayError } from "#error";
import type { Row, Store } from "#store";
import { change, codeOf } from "#test/kit/store-calls";
import { forgeOperations, putRaw, rawRows } from "#test/kit/tamper";
import { type TamperedStore, tampered } from "#test/kit/tampered-store";
import { openMemoryStore } from "./memory.ts";
import { openSqliteStore } from "./sqlite.ts";
import { openTreeStore } from "./tree-store.ts";

const key = createSecretKey(randomBytes(32));
const BESIDE = ["head", "rewrap"];

/** A key of each kind of row that the vault has; the ids are random there. */
const KINDS = ["secret", "renamed", "value", "vm", "grants", "holder", "ledger"];
const id = (name: string): string => createHash("sha256").update(name).digest("hex").slice(0, 32);
const keyOf = (kind: string, number: number): string => `${kind}:${id(`${kind} ${number}`)}`;
const VICTIMS = [...KINDS.map((kind) => keyOf(kind, 7)), ...BESIDE];
const ROWS = 60;

async function open(store: Store): Promise<Store> {
  const tree = await openTreeStore(store, key, BESIDE);
  if (!tree) throw new Error("the store has no tree");
  return tree;
}

async function put(store: Store, ...keys: string[]): Promise<void> {
  const { outcome } = await store.commit(change({ put: keys.map((name) => ({ key: name, bytes: randomBytes(80) })) }));
  if (outcome !== "ok") throw new Error(outcome);
}

async function fill(store: Store): Promise<void> {
  for (const kind of KINDS) await put(store, ...Array.from({ length: ROWS }, (_, number) => keyOf(kind, number)));
  await put(store, ...BESIDE);
}

/** A store with a tree of several levels. */
async function filled(): Promise<TamperedStore> {
  const made = tampered(openMemoryStore());
  await fill(await open(made.store));
  return made;
}

async function copies({ store }: TamperedStore, prefix: string): Promise<Row[]> {
  return (await store.list(prefix, { limit: 1_000 })).rows;
}

function putBack({ rows }: TamperedStore, all: readonly Row[]): void {
  for (const { key: name, version, bytes } of all) rows.set(name, { version, bytes });
}

async function says(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "served",
    ({ code, message }: HatchwayError) => (code === "corrupt" ? message : code),
  );
}

/** What reading the row says, and listing those of its kind, to who opens the store anew. */
async function told({ store }: TamperedStore, victim: string): Promise<string[]> {
  const tree = await open(store);
  const prefix = victim.slice(0, victim.indexOf(":") + 1) || victim;
  return [await says(tree.read([victim])), await says(tree.list(prefix, { limit: 1_000 }))];
}

describe("a row of every kind", () => {
  for (const victim of VICTIMS) {
    it(`is served as it was last written, and refused otherwise: ${victim}`, async ({ expect }) => {
      const made = await filled();
      const { rows } = made;
      const [first] = await copies(made, victim);
      await put(await open(made.store), victim);
      if (!first) throw new Error("the row is not there");
      const [second] = await copies(made, victim);
      expect(await told(made, victim)).toEqual(["served", "served"]);

      putBack(made, [first]);
      const older = `row "${victim}" is older than what was last written`;
      expect(await told(made, victim)).toEqual([older, older]);
      putBack(made, [{ ...first, version: 2 }]);
      const other = `row "${victim}" is not what was last written`;
      expect(await told(made, victim)).toEqual([other, other]);
      rows.set(victim, undefined);
      const missing = `row "${victim}" is missing from the store`;
      expect(await told(made, victim)).toEqual([missing, missing]);
      rows.clear();

      await (await open(made.store)).commit(change({ delete: [{ key: victim, version: 2 }] }));
      for (const gone of [first, second]) {
        if (gone) putBack(made, [gone]);
        const unknown = `row "${victim}" is in the store and was never written, or was removed`;
        expect(await told(made, victim)).toEqual([unknown, unknown]);
      }
      rows.clear();
      await put(await open(made.store), victim);
      expect(await told(made, victim)).toEqual(["served", "served"]);
      // The first one was of version 1 as well.
      putBack(made, [first]);
      expect(await told(made, victim)).toEqual([other, other]);
    });
  }
});

describe("rows of the tree that are put back", () => {
  it("are refused, each alone, with the row, and all together with it", async ({ expect }) => {
    const made = await filled();
    const victim = keyOf("value", 7);
    const [row, tree] = [await copies(made, victim), await copies(made, "!tree")];
    await put(await open(made.store), victim);
    const now = new Map((await copies(made, "!tree")).map((node) => [node.key, node.bytes]));
    const changed = tree.filter((node) => now.get(node.key)?.equals(node.bytes) !== true);
    // The root and a leaf, at least.
    expect(changed.length).toBeGreaterThan(1);
    for (const withRow of [[], row]) {
      for (const nodes of [...changed.map((node) => [node]), changed]) {
        putBack(made, [...nodes, ...withRow]);
        const met = nodes.some((node) => node.key === "!tree") ? open(made.store) : refused(made, victim);
        expect(await codeOf(met), nodes.map((node) => node.key).join(" ")).toBe("corrupt");
        made.rows.clear();
      }
    }
    putBack(made, changed);
    await expect(open(made.store)).rejects.toMatchObject({
      message: "the store says that its revision is 9, and its tree that it is 8",
    });
    made.rows.clear();
    expect(await told(made, victim)).toEqual(["served", "served"]);
  });

  it("are refused when they are taken away", async ({ expect }) => {
    const made = await filled();
    for (const node of await copies(made, "!tree:")) made.rows.set(node.key, undefined);
    const missing = expect.stringMatching(/^node \d+ of the store's tree is missing$/) as string;
    expect(await told(made, keyOf("vm", 7))).toEqual([missing, missing]);
    made.rows.set("!tree", undefined);
    expect(await openTreeStore(made.store, key, BESIDE)).toBe(undefined);
  });

  it("with the row are refused while the store is open, since its process knows better", async ({ expect }) => {
    const made = await filled();
    const victim = keyOf("secret", 7);
    const old = [...(await copies(made, victim)), ...(await copies(made, "!tree"))];
    const store = await open(made.store);
    await put(store, victim);
    putBack(made, old);
    expect(await codeOf(store.read([victim]))).toBe("corrupt");
    expect(await codeOf(store.list("secret:", { limit: 100 }))).toBe("corrupt");
    expect(await codeOf(store.read([keyOf("vm", 3)]))).toBe("resolved");
  });

  it("do not fit another store, though its keys are the same", async ({ expect }) => {
    const [one, other] = [await filled(), await filled()];
    putBack(other, await copies(one, ""));
    await expect(open(other.store)).rejects.toMatchObject({
      code: "corrupt",
      message: "the root of the store's tree was edited, or is that of another store",
    });
  });
});

it("a file that was put back as a whole says its old revision, whatever it says of its operations", async ({
  expect,
}) => {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-tamper-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, "store.db");
  const within = async <T>(act: (store: Store) => Promise<T>): Promise<T> => {
    const raw = await openSqliteStore(path, { create: true });
    try {
      return await act(await open(raw));
    } finally {
      await raw.close();
    }
  };
  await within(fill);
  await copyFile(path, `${path}.old`);
  const tree = rawRows(path, "!tree");
  await within((store) => put(store, keyOf("secret", 7)));
  putRaw(path, tree);
  expect(await codeOf(within((store) => store.revision()))).toBe("corrupt");
  await copyFile(`${path}.old`, path);
  expect(await within((store) => store.revision())).toBe(8);
  forgeOperations(path, 9, ["forged"]);
  expect(await codeOf(within((store) => store.revision()))).toBe("corrupt");
});

/** Reads the row, and throws what that says if it is refused. */
async function refused({ store }: TamperedStore, victim: string): Promise<void> {
  await (await open(store)).read([victim]);
}
