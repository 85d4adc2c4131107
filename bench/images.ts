// How long an image takes in this process, from a list of files to its last byte: 1,000 and 10,000 files of 64 bytes. In
// turn with mkfs.erofs over the same 1,000 files on a tmpfs, which is what one would use without us; medians and ratios
// count.
//
//   node bench/images.ts [rounds]     writes a table, and bench/results/images.json
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { ErofsImage } from "#bundle/erofs";
import { IsoImage } from "#bundle/iso9660";
import { SquashfsImage } from "#bundle/squashfs";
import { imageTree } from "#bundle/tree";

const rounds = Number(process.argv[2] ?? 31);
const root = resolve(import.meta.dirname, "..");
const SIZE = 64;

const folder = mkdtempSync("/dev/shm/hatchway-bench.");
mkdirSync(join(folder, "files"));
for (let at = 0; at < 1_000; at++) writeFileSync(join(folder, "files", `s${at}`), Buffer.alloc(SIZE, at));

const openFile = async (): Promise<Uint8Array> => Buffer.alloc(SIZE, 7);

/** Writes an image into memory, all that an encoder needs to be told included. */
async function encode(Image: typeof ErofsImage | typeof SquashfsImage | typeof IsoImage, count: number): Promise<void> {
  const files = Array.from({ length: count }, (_, at) => {
    return { path: `s${at}`, mode: 0o600, uid: at % 100, gid: 7, mtime: 1_700_000_000, size: SIZE };
  });
  const image = new Image(imageTree(files, Buffer.alloc(16, 7)));
  const whole = Buffer.alloc(image.size);
  let at = 0;
  await image.writeTo(openFile, async (bytes) => {
    whole.set(bytes, at);
    at += bytes.length;
  });
}

async function stockErofs(): Promise<void> {
  const { status } = spawnSync("mkfs.erofs", [join(folder, "image"), join(folder, "files")], { stdio: "ignore" });
  if (status !== 0) throw new Error(`mkfs.erofs ended with ${status}`);
}

const kinds = { erofs: ErofsImage, squashfs: SquashfsImage, iso: IsoImage };
const cases = [
  ...Object.entries(kinds).flatMap(([name, Image]) =>
    [1_000, 10_000].map((count) => ({ name: `${name} ${count}`, run: () => encode(Image, count) })),
  ),
  { name: "mkfs.erofs 1000", run: stockErofs },
];

const times = new Map<string, number[]>(cases.map(({ name }) => [name, []]));
for (let turn = 0; turn < rounds; turn++) {
  for (const { name, run } of cases) {
    const begun = process.hrtime.bigint();
    await run();
    times.get(name)?.push(Number(process.hrtime.bigint() - begun) / 1e6);
  }
}
rmSync(folder, { recursive: true });

function quantile(name: string, fraction: number): number {
  const sorted = (times.get(name) ?? []).toSorted((a, b) => a - b);
  return Math.round((sorted[Math.floor((sorted.length - 1) * fraction)] ?? Number.NaN) * 100) / 100;
}

const results = cases.map(({ name }) => ({
  name,
  medianMs: quantile(name, 0.5),
  p10Ms: quantile(name, 0.1),
  p90Ms: quantile(name, 0.9),
}));
console.table(results);
mkdirSync(join(root, "bench/results"), { recursive: true });
writeFileSync(join(root, "bench/results/images.json"), `${JSON.stringify({ rounds, results }, undefined, 2)}\n`);
