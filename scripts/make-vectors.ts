// Writes test/vectors/bundle/ and test/vectors/age/, one file a case and index.json with a row for each, and enrol.json. Run it after a
// case was added to test/kit/; the same cases give the same bytes, and tests fail when files and cases differ.
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { AGE_VECTORS, ageCases, ageIndexText, ageKeyText } from "#test/kit/age-cases";
import { ENROL_VECTORS, enrolText } from "#test/kit/enrol-cases";
import { bundleCases, indexText, VECTORS } from "#test/kit/vectors";

function write(folder: URL, files: readonly { file: string; bytes: Buffer }[]): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const { file, bytes } of files) writeFileSync(new URL(file, folder), bytes);
  const size = files.reduce((total, { bytes }) => total + bytes.length, 0);
  process.stdout.write(`${files.length} files, ${size} bytes\n`);
}

writeFileSync(ENROL_VECTORS, enrolText());
const bundles = bundleCases();
write(VECTORS, [...bundles, { file: "index.json", bytes: Buffer.from(indexText(bundles)) }]);
const ages = ageCases();
const key = { file: "key.txt", bytes: Buffer.from(ageKeyText()) };
write(AGE_VECTORS, [...ages, key, { file: "index.json", bytes: Buffer.from(ageIndexText(ages)) }]);
