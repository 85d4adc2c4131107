// Removing a folder in which somebody else is at work: what a VM's runner can do to root.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { expect, it } from "vitest";
import { removeTree } from "#host/remove-tree";

/** Swaps a folder for a link to what is root's and back, as fast as it can, from inside and by names that it may change. */
const SWAPPER = `
const fs = require("node:fs");
const [folder, target] = process.argv.slice(1);
process.chdir(folder);
const tries = [
  () => fs.mkdirSync("swap/deep", { recursive: true }),
  () => fs.writeFileSync("swap/deep/precious", ""),
  () => fs.writeFileSync("swap/precious", ""),
  () => fs.renameSync("swap", "aside" + Math.random()),
  () => fs.symlinkSync(target, "swap"),
  () => fs.unlinkSync("swap"),
];
process.stdout.write("ready");
for (;;) for (const act of tries) try { act(); } catch (error) { if (error.code === "ENOENT" && !fs.existsSync(".")) process.exit(); }
`;

it("a folder swapped for a link while it is removed leads nowhere", async () => {
  if (process.getuid?.() !== 0) throw new Error("this test runs as root, and its other party as nobody");
  const folder = mkdtempSync("/tmp/hwr.");
  chmodSync(folder, 0o755);
  const precious = join(folder, "etc");
  mkdirSync(join(precious, "deep"), { recursive: true });
  const kept = [join(precious, "precious"), join(precious, "deep/precious")];
  for (const path of kept) writeFileSync(path, "");
  const shared = join(folder, "shared");
  mkdirSync(shared);
  chownSync(shared, 65534, 65534);
  const swapper = spawn(process.execPath, ["-e", SWAPPER, shared, precious], { uid: 65534, gid: 65534 });
  await once(swapper.stdout, "data");
  let refused = 0;
  for (let round = 0; round < 2000; round++) {
    try {
      await removeTree(join(shared, "swap"));
    } catch (error) {
      // Filled as fast as it was emptied.
      expect(error).toMatchObject({ code: "unavailable" });
      refused++;
    }
  }
  swapper.kill("SIGKILL");
  await once(swapper, "exit");
  expect(kept.filter((path) => !existsSync(path))).toEqual([]);
  expect(refused).toBeLessThan(2000);
  rmSync(folder, { recursive: true });
});
