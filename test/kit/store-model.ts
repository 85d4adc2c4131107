import { array, assert, asyncProperty, boolean, constant, constantFrom, integer, nat, oneof } from "fast-check";
import { option, record, uniqueArray } from "fast-check";
import { it } from "vitest";
import type { Change, CommitResult } from "#store";
import { bytesOf, change, type Open, shown } from "./store-calls.ts";

const key = constantFrom("a", "ab", "b", "b/c");
const operation = oneof(
  record({ kind: constant("expect" as const), key, version: nat({ max: 3 }) }),
  record({ kind: constant("put" as const), key, version: option(integer({ min: 1, max: 3 }), { nil: undefined }) }),
  record({ kind: constant("delete" as const), key, version: integer({ min: 1, max: 3 }) }),
);
const operations = uniqueArray(operation, { maxLength: 3, selector: (each) => each.key });

/** What a store should do, in a few lines: a map. */
class Model {
  readonly rows = new Map<string, { version: number; bytes: Buffer }>();
  revision: number;

  constructor(revision: number) {
    this.revision = revision;
  }

  commit(next: Change): CommitResult {
    const now = (name: string): number => this.rows.get(name)?.version ?? 0;
    const [conflict] = [
      ...next.expect.filter((each) => now(each.key) !== each.version),
      ...next.put.filter((each) => each.version !== undefined && now(each.key) !== each.version - 1),
      ...next.delete.filter((each) => now(each.key) !== each.version),
    ];
    if (conflict !== undefined) return { outcome: "conflict", key: conflict.key };
    for (const each of next.put) this.rows.set(each.key, { version: now(each.key) + 1, bytes: each.bytes });
    for (const each of next.delete) this.rows.delete(each.key);
    this.revision += 1;
    return { outcome: "ok", revision: this.revision };
  }
}

export function describeModel(open: Open): void {
  it("does what a plain map does, for any changes", async ({ expect }) => {
    const store = await open();
    let round = 0;
    const property = asyncProperty(
      array(operations, { minLength: 1, maxLength: 20 }),
      boolean(),
      async (all, atOnce) => {
        round += 1;
        const folder = `round-${round}/`;
        const model = new Model(await store.revision());
        const changes = all.map((each, index) => changeOf(folder, index, each));
        const expected = changes.map((each) => model.commit(each));
        const results: CommitResult[] = atOnce ? await Promise.all(changes.map((each) => store.commit(each))) : [];
        if (!atOnce) for (const each of changes) results.push(await store.commit(each));
        expect(results).toEqual(expected);
        const rows = [...model.rows]
          .map(([name, row]) => ({ key: name, version: row.version, bytes: row.bytes }))
          .sort((a, b) => (a.key < b.key ? -1 : 1));
        expect(shown((await store.list(folder, { limit: 100 })).rows)).toEqual(shown(rows));
        expect(shown((await store.read(rows.map((row) => row.key))).rows)).toEqual(shown(rows));
      },
    );
    await assert(property, { numRuns: 50 });
  });
}

type Operation = { kind: "expect" | "delete"; key: string; version: number } | PutOperation;
interface PutOperation {
  kind: "put";
  key: string;
  version: number | undefined;
}

/** Every round has a folder of its own, so that all can use one store. */
function changeOf(folder: string, index: number, all: readonly Operation[]): Change {
  const next = {
    expect: [] as Change["expect"][number][],
    put: [] as Change["put"][number][],
    delete: [] as Change["delete"][number][],
  };
  for (const each of all) {
    const name = folder + each.key;
    if (each.kind !== "put") next[each.kind].push({ key: name, version: each.version });
    else
      next.put.push({
        key: name,
        ...(each.version !== undefined && { version: each.version }),
        bytes: bytesOf(`${index}`),
      });
  }
  return change(next);
}
