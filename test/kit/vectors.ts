// The bundle vectors of test/vectors/bundle/: loading them, and making them.
//
// index.json is an array of { file, outcome: "ok" | "refused", rule, about, files? }: `rule` is text that the refusal's
// message holds, `files` the values of an accepted bundle.
import { readFileSync } from "node:fs";
import { goodCases, type BundleCase } from "#test/kit/bundle-cases";
import { hostileCases } from "#test/kit/hostile-cases";
import { hostileManifests } from "#test/kit/hostile-manifests";

export type { BundleCase, ExpectedFile } from "#test/kit/bundle-cases";

export const VECTORS: URL = new URL("../vectors/bundle/", import.meta.url);

/** The vectors as they are on disk. */
export function bundleVectors(): BundleCase[] {
  const rows = JSON.parse(readFileSync(new URL("index.json", VECTORS), "utf8")) as Omit<BundleCase, "bytes">[];
  return rows.map((row) => Object.assign(row, { bytes: readFileSync(new URL(row.file, VECTORS)) }));
}

/** The vectors as the cases make them. */
export function bundleCases(): BundleCase[] {
  return [...goodCases(), ...hostileCases(), ...hostileManifests()];
}

/** index.json: one row a line. */
export function indexText(cases: readonly BundleCase[]): string {
  const rows = cases.map(({ file, outcome, rule, about, files }) =>
    JSON.stringify({ file, outcome, rule, about, files }),
  );
  return `[\n${rows.join(",\n")}\n]\n`;
}
