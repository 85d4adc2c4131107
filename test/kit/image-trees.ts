// Trees of files of any shape that a manifest may have, for the encoders of images.
import * as fc from "fast-check";
import { pathProblem } from "#protocol/names";
import type { ImageFile } from "#bundle/tree";

export type TreeFile = Omit<ImageFile, "kind" | "name">;

const component = fc.string({
  unit: fc.constantFrom("a", "B", "z", "0", "9", ".", "_", "-"),
  minLength: 1,
  maxLength: 60,
});
const path = fc
  .array(component, { minLength: 1, maxLength: 8 })
  .map((parts) => parts.join("/"))
  .filter((text) => pathProblem(text) === undefined);
const size = fc.oneof(...[200, 9_000, 300_000].map((max) => fc.integer({ min: 0, max })));
const id = fc.integer({ min: 0, max: 2_097_151 });
const mode = fc.integer({ min: 0, max: 0o777 });
const mtime = fc.integer({ min: 0, max: 0xffffffff });
const files: fc.Arbitrary<TreeFile[]> = fc
  .array(fc.record({ path, size, mode, uid: id, gid: id, mtime }), { maxLength: 120 })
  .map((all) => all.filter((one, at) => all.slice(0, at).every((other) => !overlap(one.path, other.path))));

/** Whether two paths are one, or one would lie under the other. */
function overlap(a: string, b: string): boolean {
  return `${a}/`.startsWith(`${b}/`) || `${b}/`.startsWith(`${a}/`);
}

/** The same trees for the same seed. */
export function sampleTrees(count: number, seed: number): TreeFile[][] {
  return fc.sample(files, { numRuns: count, seed });
}

export function contentOf(file: { path: string; size: number }): Buffer {
  return Buffer.alloc(file.size, `${file.path}\0`);
}
