import { describe, it } from "vitest";
import { RowCache } from "./row-cache.ts";

const ROW = Buffer.alloc(1_000, 7);
/** Room for three such rows, not for four. */
const CAPACITY = 3_600;

function held(cache: RowCache, keys: string[]): string[] {
  return keys.filter((key) => cache.getAll([key]) !== undefined);
}

describe("row cache", () => {
  it("lets go of the row that was not used for longest", ({ expect }) => {
    const cache = new RowCache(CAPACITY);
    for (const key of ["a", "b", "c"]) cache.set(key, 1, Buffer.from(ROW));
    cache.getAll(["a"]);
    cache.set("d", 1, Buffer.from(ROW));
    expect(held(cache, ["a", "b", "c", "d"])).toEqual(["a", "c", "d"]);
  });

  it("has all of the rows or says nothing", ({ expect }) => {
    const cache = new RowCache(CAPACITY);
    cache.set("a", 3, Buffer.from("x"));
    expect(cache.getAll(["a", "b"])).toBe(undefined);
    expect(cache.getAll(["a", "a"])).toEqual(["a", "a"].map((key) => ({ key, version: 3, bytes: Buffer.from("x") })));
    expect(cache.getAll([])).toEqual([]);
  });

  it("makes room when a row shrinks, goes or is replaced", ({ expect }) => {
    const cache = new RowCache(CAPACITY);
    for (let round = 1; round < 10; round += 1) {
      for (const key of ["a", "b", "c"]) cache.set(key, round, Buffer.from(ROW));
      cache.delete("b");
      cache.set("d", round, Buffer.from(ROW));
      expect(held(cache, ["a", "b", "c", "d"])).toEqual(["a", "c", "d"]);
      cache.delete("d");
    }
  });

  it("keeps no row that is larger than itself", ({ expect }) => {
    const cache = new RowCache(CAPACITY);
    cache.set("a", 1, Buffer.from(ROW));
    cache.set("large", 1, Buffer.alloc(CAPACITY));
    cache.set("a", 2, Buffer.alloc(CAPACITY));
    expect(held(cache, ["a", "large"])).toEqual([]);
  });
});
