import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, test } from "vitest";
import { removeTree } from "./remove-tree.ts";

const folder = mkdtempSync(join(tmpdir(), "remove."));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("removes files, folders, links and odd names, and nothing that a link points to", async ({ expect }) => {
  const outside = join(folder, "outside");
  mkdirSync(outside);
  writeFileSync(join(outside, "precious"), "");
  const tree = join(folder, "tree");
  mkdirSync(join(tree, "a/b/c"), { recursive: true });
  writeFileSync(join(tree, "a/b/c/file"), "");
  writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from([0xff, 0x0a, 0x80])]), "");
  symlinkSync(outside, join(tree, "link"));
  symlinkSync(outside, join(tree, "a/link"));
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
  expect(readdirSync(outside)).toEqual(["precious"]);
});

test("a link in place of the folder goes, and what is not there is no fault", async ({ expect }) => {
  const link = join(folder, "link");
  symlinkSync(folder, link);
  await removeTree(link);
  expect(existsSync(link)).toBe(false);
  expect(existsSync(folder)).toBe(true);
  await removeTree(join(folder, "nothing"));
});

test("a tree of any depth goes", async ({ expect }) => {
  const tree = join(folder, "deep");
  mkdirSync(join(tree, ...Array.from({ length: 400 }, () => "d")), { recursive: true });
  await removeTree(tree);
  expect(existsSync(tree)).toBe(false);
});
