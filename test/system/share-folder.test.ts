// A share as files of the host: what stands where, how it is replaced, and what is refused. test/vm/share.test.ts has the guest.
import { execFileSync } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "vitest";
import { HatchwayError } from "#error";
import { openPlainShare, openSealedShare, type Share } from "#share/folder";
import { bundleVectors } from "#test/kit/vectors";
import { manifestFile, manifestText } from "#test/kit/bundle-cases";
import { tarArchive, tarFile } from "#test/kit/tar";

/** Types of files as st_mode has them (inode(7)). */
const [FILE, FOLDER, LINK] = [0o100_000, 0o040_000, 0o120_000];
const served = ["virtiofs", "9p"] as const;
const gid = process.getegid?.() ?? 0;
let memory: string;
beforeEach(() => {
  memory = mkdtempSync("/dev/shm/hatchway-share.");
});
afterEach(() => rmSync(memory, { recursive: true }));

/** A bundle of one secret, in a revision of its own. */
function bundle(revision: string, value: string): Buffer {
  const entry = { name: "db", version: 1, size: value.length, path: "a/db", mode: "0640", uid: 0, gid: 0 };
  const header = { name: "a/db", mode: "0000640", mtime: "00000001000" };
  return tarArchive(manifestFile(manifestText([entry], { revision })), tarFile(header, value));
}

function show(share: Share, ...pieces: Buffer[]): Promise<boolean> {
  return share.replace(async (take) => {
    for (const piece of pieces) take(piece);
    return pieces.length > 0;
  });
}

function refused(act: Promise<unknown>): Promise<string> {
  return act.then(
    () => "done",
    (error: unknown) => (error instanceof HatchwayError ? error.code : `${error as Error}`),
  );
}

describe("a plain share", () => {
  test("shows a set by a link, with modes, times and the manifest, and lets nobody else in", async ({ expect }) => {
    const folder = join(memory, "web");
    await using share = await openPlainShare(folder, "virtiofs", gid);
    await show(share, bundle("e1.1.1", "one"));
    expect(share.exported).toBe(join(folder, "files"));
    expect(readlinkSync(join(share.exported, "current"))).toBe("sets/e1.1.1");
    const file = statSync(join(share.exported, "current/a/db"));
    expect([file.mode & 0o777, file.mtimeMs, file.size]).toEqual([0o640, 512_000, 3]);
    expect(readFileSync(join(share.exported, "current/.hatchway/manifest.json"), "latin1")).toContain("e1.1.1");
    const paths = ["..", ".", "sets", "sets/e1.1.1", "sets/e1.1.1/a", "sets/e1.1.1/.hatchway"];
    const modes = paths.map((path) => (statSync(join(share.exported, path)).mode & 0o777).toString(8));
    expect(modes).toEqual(["700", "711", "711", "711", "711", "700"]);
  });

  test("by 9p has what the guest is to see beside the files, which are the group's to read", async ({ expect }) => {
    await using share = await openPlainShare(join(memory, "web"), "9p", gid);
    await show(share, bundle("e1.1.1", "one"));
    const set = join(share.exported, "sets/e1.1.1");
    expect((lstatSync(join(set, "a/db")).mode & 0o777).toString(8)).toBe("640");
    expect(readFileSync(join(set, "a/.virtfs_metadata/db"), "latin1")).toBe(
      `virtfs.uid=0\nvirtfs.gid=0\nvirtfs.mode=${FILE | 0o640}\n`,
    );
    expect(readFileSync(join(set, ".virtfs_metadata/a"), "latin1")).toContain(`virtfs.mode=${FOLDER | 0o711}\n`);
    expect(readFileSync(join(share.exported, "current"), "latin1")).toBe("sets/e1.1.1");
    expect(readFileSync(join(share.exported, ".virtfs_metadata/current"), "latin1")).toContain(
      `mode=${LINK | 0o777}\n`,
    );
  });

  test.for(served)("by %s keeps the set before, and not for long", async (by, { expect }) => {
    const folder = join(memory, "web");
    {
      await using share = await openPlainShare(folder, by, gid);
      await show(share, bundle("e1.1.1", "one"));
      await show(share, bundle("e1.1.2", "two"));
      expect(setsOf(share)).toEqual(["e1.1.1", "e1.1.2"]);
    }
    const files = join(folder, "files/sets");
    expect(readdirSync(files).filter((name) => !name.startsWith("."))).toEqual(["e1.1.2"]);
    mkdirSync(join(files, "e1.1.3"));
    await using again = await openPlainShare(folder, by, gid);
    expect(setsOf(again)).toEqual(["e1.1.2"]);
    await show(again, bundle("e1.1.2", "two"));
    await show(again, bundle("e1.1.3", "three"));
    expect(readFileSync(join(again.exported, "sets/e1.1.3/a/db"), "latin1")).toBe("three");
    await again.clear();
    expect(execFileSync("find", [again.exported, "-type", "f", "-name", "db"], { encoding: "utf8" })).toBe("");
  });

  test("stays as it is where a bundle breaks off, or there is none", async ({ expect }) => {
    await using share = await openPlainShare(join(memory, "web"), "virtiofs", gid);
    await show(share, bundle("e1.1.1", "one"));
    const whole = bundle("e1.1.2", "two");
    for (const length of [0, 511, 600, 1_537, whole.length - 1]) {
      expect(await refused(show(share, whole.subarray(0, length)))).not.toBe("done");
    }
    expect(await show(share)).toBe(false);
    expect(setsOf(share)).toEqual(["e1.1.1"]);
    expect(readFileSync(join(share.exported, "current/a/db"), "latin1")).toBe("one");
  });

  test("takes no bundle that breaks a rule", async ({ expect }) => {
    await using share = await openPlainShare(join(memory, "web"), "9p", gid);
    for (const { file, bytes, outcome } of bundleVectors()) {
      if (outcome === "refused") expect(await refused(show(share, bytes)), file).not.toBe("done");
    }
    expect(setsOf(share)).toEqual([]);
  });

  test("is in memory and in a folder of its own, or is not made", async ({ expect }) => {
    const disk = mkdtempSync(join(tmpdir(), "hatchway-share."));
    expect(await refused(openPlainShare(join(disk, "web"), "virtiofs", gid))).toBe("invalid");
    writeFileSync(join(memory, "file"), "");
    expect(await refused(openPlainShare(memory, "virtiofs", gid))).toBe("exists");
    expect(await refused(openPlainShare(join(memory, "file"), "virtiofs", gid))).toBe("invalid");
    expect(await refused(openPlainShare(join(memory, "no/where"), "virtiofs", gid))).toBe("unavailable");
    rmSync(disk, { recursive: true });
  });
});

describe("a sealed share", () => {
  test("is one file, replaced whole, that anybody may have", async ({ expect }) => {
    const folder = join(memory, "web");
    await using share = await openSealedShare(folder);
    const file = join(share.exported, "bundle.age");
    await show(share, Buffer.from("one"));
    const first = statSync(file);
    expect([readdirSync(folder), (first.mode & 0o777).toString(8)]).toEqual([["bundle.age"], "444"]);
    expect(await refused(share.replace(() => Promise.reject(new HatchwayError("unavailable", "gone"))))).toBe(
      "unavailable",
    );
    expect(await show(share)).toBe(false);
    expect(readFileSync(file, "latin1")).toBe("one");
    await show(share, Buffer.from("tw"), Buffer.from("o"));
    expect(readFileSync(file, "latin1")).toBe("two");
    expect(statSync(file).ino).not.toBe(first.ino);
    await share.clear();
    expect(readdirSync(folder)).toEqual([]);
  });
});

function setsOf(share: Share): string[] {
  return readdirSync(join(share.exported, "sets")).filter((name) => !name.startsWith("."));
}
