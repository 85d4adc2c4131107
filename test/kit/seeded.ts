import { createHash } from "node:crypto";

/** `all` in an order that `seed` decides, the same each time. */
export function shuffled<T>(all: readonly T[], seed: string): T[] {
  const keyed = all.map((item, at) => ({ item, key: createHash("sha256").update(`${seed}\0${at}`).digest("hex") }));
  return keyed.toSorted((a, b) => (a.key < b.key ? -1 : 1)).map(({ item }) => item);
}
