import { test } from "vitest";
import { bundleFiles, foldersOf, imageTree } from "#bundle/tree";
import { guest, TestVault } from "#test/kit/vault";

test("a tree has its folders by level and each folder's names in the order of their bytes", ({ expect }) => {
  const plain = { mode: 0o600, uid: 0, gid: 0, mtime: 0, size: 0 };
  const paths = [".hatchway/manifest.json", "b/x/one", "B", "a", "b/-", "b/.x"];
  const { root, files } = imageTree(
    paths.map((path) => ({ ...plain, path })),
    Buffer.alloc(16),
  );
  expect(files.map(({ path }) => path)).toEqual(paths);
  expect(foldersOf(root).map(({ name, mode, nodes }) => [name, mode, nodes.map((node) => node.name)])).toEqual([
    ["", 0o711, [".hatchway", "B", "a", "b"]],
    [".hatchway", 0o700, ["manifest.json"]],
    ["b", 0o711, ["-", ".x", "x"]],
    ["x", 0o711, ["one"]],
  ]);
});

test("a bundle's files are the manifest and the values, and its id is of what it has", async ({ expect }) => {
  await using made = await TestVault.open();
  await made.set("db", "correct horse", { user: "postgres", mode: "0440" });
  await made.set("token", "t", { file: false, env: "TOKEN" });
  const { id } = await made.vm("web", "db", "token");
  const files = bundleFiles(await made.vault.resolve(guest(id), id));
  expect(files.tree.files.map(({ path, mode, uid, size }) => [path, mode, uid, size]).slice(1)).toEqual([
    ["db", 0o440, 0, 13],
    [".hatchway/values/TOKEN", 0o600, 0, 1],
  ]);
  const again = bundleFiles(await made.vault.resolve(guest(id), id));
  expect(again.tree.uuid).toEqual(files.tree.uuid);
  const open = await files.disclose();
  const [, db] = files.tree.files;
  expect(db && Buffer.from(await open(db)).toString()).toBe("correct horse");
  await made.set("db", "staple");
  const changed = bundleFiles(await made.vault.resolve(guest(id), id));
  expect(changed.tree.uuid.equals(files.tree.uuid)).toBe(false);
});
