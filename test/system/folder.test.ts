import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "vitest";
import { removeFolder } from "#channel/folder";

test("a folder is removed with what is in it, and a link in it leads nowhere", async ({ expect }) => {
  const folder = mkdtempSync(join(tmpdir(), "hatchway-folder-"));
  mkdirSync(join(folder, "outside"));
  writeFileSync(join(folder, "outside/kept"), "");
  mkdirSync(join(folder, "vm/deep"), { recursive: true });
  symlinkSync(join(folder, "outside"), join(folder, "vm/link"));
  await removeFolder(join(folder, "vm"));
  await removeFolder(join(folder, "vm"));
  expect(readdirSync(folder)).toEqual(["outside"]);
  expect(readdirSync(join(folder, "outside"))).toEqual(["kept"]);
  rmSync(folder, { recursive: true });
});

/** Exchanges a folder and a link to another one, for as long as it lives. */
function exchange(folder: string): ChildProcess {
  const loop = "while :; do mv -T d e; mv -T l d; mv -T d l; mv -T e d; done 2>/dev/null";
  return spawn("sh", ["-c", loop], { cwd: folder, stdio: "ignore" });
}

test("nothing outside is removed while the runner exchanges a folder and a link", async ({ expect }) => {
  const folder = mkdtempSync(join(tmpdir(), "hatchway-folder-"));
  mkdirSync(join(folder, "outside"));
  writeFileSync(join(folder, "outside/kept"), "");
  for (let round = 0; round < 5; round++) {
    const inner = join(folder, "vm/inner");
    mkdirSync(join(inner, "d"), { recursive: true });
    for (let file = 0; file < 50; file++) writeFileSync(join(inner, `d/${file}`), "");
    symlinkSync(join(folder, "outside"), join(inner, "l"));
    const runner = exchange(inner);
    await once(runner, "spawn");
    await removeFolder(join(folder, "vm")).catch(() => undefined);
    runner.kill("SIGKILL");
    await once(runner, "exit");
    await removeFolder(join(folder, "vm"));
    expect(readdirSync(join(folder, "outside"))).toEqual(["kept"]);
  }
  rmSync(folder, { recursive: true });
});
