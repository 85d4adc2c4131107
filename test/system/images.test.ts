// What the stock tools make of images of the good vectors: they find nothing wrong, and unpack what was put in.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { ErofsImage } from "#bundle/erofs";
import { IsoImage } from "#bundle/iso9660";
import { SquashfsImage } from "#bundle/squashfs";
import { imageTree } from "#bundle/tree";
import { entryHeader } from "#protocol/bundle";
import { encodeManifest } from "#protocol/manifest";
import { contentOf, sampleTrees } from "#test/kit/image-trees";
import { caseBundle, imageOf, isWhole } from "#test/kit/case-bundle";
import { goodCases, type BundleCase } from "#test/kit/bundle-cases";

const cases = goodCases().filter(isWhole);

/** Runs a tool that must be content; what it says. */
function run(program: string, ...words: string[]): string {
  const env = { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" };
  const { status, stdout, stderr, error } = spawnSync(program, words, { env, encoding: "latin1" });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program}: status ${status}: ${stdout}${stderr}`);
  return stdout + stderr;
}

/** fsck.erofs of Debian 12 ends with 0 even when it has found something: only its words tell. */
function checkErofs(image: string, ...words: string[]): void {
  const said = run("fsck.erofs", "-d3", ...words, image);
  if (!/No errors found|Extracted filesystem successfully/.test(said) || said.includes("<E>"))
    throw new Error(`fsck.erofs: ${said}`);
}

/** Each file as `path mode uid:gid mtime sha256`. */
function filesIn(folder: string): string[] {
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true });
  const files = paths.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return files.map((path) => {
    const { mode, uid, gid, mtimeMs } = statSync(path);
    return describeFile(relative(folder, path), mode & 0o7777, uid, gid, mtimeMs / 1000, readFileSync(path));
  });
}

function describeFile(path: string, mode: number, uid: number, gid: number, mtime: number, content: Buffer): string {
  const digest = createHash("sha256").update(content).digest("hex");
  return `${path} 0${mode.toString(8)} ${uid}:${gid} ${mtime} ${digest}`;
}

/** The same, as the vector has it. */
async function filesOf(made: BundleCase, latest: number): Promise<string[]> {
  const bundle = caseBundle(made);
  const { manifest, times } = bundle;
  const json = Buffer.from(encodeManifest(manifest));
  const open = await bundle.disclose(manifest.entries);
  const lines = [describeFile(".hatchway/manifest.json", 0o600, 0, 0, 0, json)];
  for (const [at, entry] of manifest.entries.entries()) {
    const { path, mode, uid, gid, mtime } = entryHeader(entry, Math.min(times[at] ?? 0, latest));
    lines.push(describeFile(path, mode, uid, gid, mtime, await open(entry)));
  }
  return lines;
}

interface Tool {
  format: "erofs" | "squashfs" | "iso";
  /** The last second that the format can say. */
  latest: number;
  unpack: (image: string, into: string) => void;
}

const tools: Tool[] = [
  {
    format: "erofs",
    latest: Infinity,
    unpack: (image, into) => checkErofs(image, "--preserve", `--extract=${into}`),
  },
  {
    format: "squashfs",
    latest: 0xffffffff,
    unpack: (image, into) => void run("unsquashfs", "-strict-errors", "-no-progress", "-d", into, image),
  },
  {
    format: "iso",
    latest: Date.UTC(2156, 0, 1) / 1000 - 1,
    unpack: (image, into) => void run("xorriso", "-osirrox", "on", "-indev", image, "-extract", "/", into),
  },
];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync("/tmp/hatchway-images.");
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(tools)("the tools of $format", ({ format, latest, unpack }) => {
  it.each(cases)("unpack $file: $about", async (made) => {
    const image = join(folder, `${made.file}.${format}`);
    writeFileSync(image, await imageOf(caseBundle(made), format));
    const into = join(folder, `${made.file}.${format}.unpacked`);
    unpack(image, into);
    const [seen, wanted] = [filesIn(into).toSorted(), (await filesOf(made, latest)).toSorted()];
    if (seen.join("\n") !== wanted.join("\n")) {
      throw new Error(`unpacked:\n${seen.join("\n")}\nwanted:\n${wanted.join("\n")}`);
    }
  });
});

/** How many trees of each format are tried; HATCHWAY_IMAGE_TREES=1000 is a long sweep, and each seed has others. */
const TREES = Number(process.env["HATCHWAY_IMAGE_TREES"] ?? 6);
const SEED = Number(process.env["HATCHWAY_IMAGE_SEED"] ?? 1);

const kinds = { erofs: ErofsImage, squashfs: SquashfsImage, iso: IsoImage };
describe.each(tools)("the tools of $format", ({ format, unpack }) => {
  it("unpack trees of any shape", async () => {
    for (const [at, files] of sampleTrees(TREES, SEED).entries()) {
      const tree = imageTree(files, Buffer.alloc(16, at));
      const image = new kinds[format](tree);
      const bytes: Buffer[] = [];
      await image.writeTo(
        async (of) => contentOf(of),
        async (part) => void bytes.push(Buffer.from(part)),
      );
      const where = join(folder, `tree-${at}.${format}`);
      writeFileSync(where, Buffer.concat(bytes));
      unpack(where, `${where}.unpacked`);
      const seen = filesIn(`${where}.unpacked`).toSorted();
      const wanted = files
        .map((of) => describeFile(of.path, of.mode, of.uid, of.gid, of.mtime, contentOf(of)))
        .toSorted();
      const wrong = wanted.find((line, index) => line !== seen[index]);
      if (seen.length !== wanted.length || wrong !== undefined) {
        throw new Error(`tree ${at} of seed ${SEED}: ${seen.length} files of ${wanted.length}; not there: ${wrong}`);
      }
    }
  });
});

describe("an image", () => {
  const [, one] = cases;
  if (!one) throw new Error("there are vectors");

  it("is found by its label, and says what it is", async ({ expect }) => {
    for (const { format } of tools) writeFileSync(join(folder, format), await imageOf(caseBundle(one), format));
    const probe = (format: string, key: string): string =>
      run("blkid", "--probe", "--match-tag", key, "--output", "value", join(folder, format)).trim();
    expect([probe("erofs", "TYPE"), probe("erofs", "LABEL")]).toEqual(["erofs", "HATCHWAY"]);
    expect([probe("iso", "TYPE"), probe("iso", "LABEL")]).toEqual(["iso9660", "HATCHWAY"]);
    expect(probe("squashfs", "TYPE")).toBe("squashfs");
    expect(run("dump.erofs", join(folder, "erofs"))).toMatch(/Filesystem features: +sb_csum mtime/);
    expect(run("isoinfo", "-d", "-i", join(folder, "iso"))).toContain("Rock Ridge signatures version 1 found");
  });

  it("in which the superblock of EROFS was changed is refused by its checksum", async ({ expect }) => {
    const bytes = await imageOf(caseBundle(one), "erofs");
    bytes.write("X", 1024 + 64);
    writeFileSync(join(folder, "changed"), bytes);
    expect(() => checkErofs(join(folder, "changed"))).toThrow("superblock chksum doesn't match");
  });
});
