// Writes test/vectors/bundle/: one tar a case, and index.json with a row for each. Run it after a case was added to
// test/kit/; the same cases give the same bytes, and protocol/vectors.test.ts fails when files and cases differ.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { bundleCases, indexText, VECTORS } from "#test/kit/vectors";

rmSync(VECTORS, { recursive: true, force: true });
mkdirSync(VECTORS, { recursive: true });
const cases = bundleCases();
for (const { file, bytes } of cases) writeFileSync(new URL(file, VECTORS), bytes);
writeFileSync(new URL("index.json", VECTORS), indexText(cases));
const size = cases.reduce((total, { bytes }) => total + bytes.length, 0);
process.stdout.write(`${cases.length} vectors, ${size} bytes\n`);
