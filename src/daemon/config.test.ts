import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { parseConfig, readConfig } from "#daemon/config";
import { HatchwayError } from "#error";

test.for([
  ["", "defaults"],
  ["# nothing\n", "defaults"],
  ["---\n", "defaults"],
  ["attach: defaults\n", "defaults"],
  ["attach: all\n", "all"],
  ['"attach": "all"', "all"],
] as const)("%j attaches %s", ([text, attach], { expect }) => {
  expect(parseConfig("c.yaml", text)).toMatchObject({ attach });
});

test.for([
  ["attach: ALL", 'line 1: attach is "defaults" or "all"'],
  ["attach: true", 'line 1: attach is "defaults" or "all"'],
  ["attach: [all]", 'line 1: attach is "defaults" or "all"'],
  ["attach:", 'line 1: attach is "defaults" or "all"'],
  ["# one\n\natach: all", 'line 3: unknown key "atach"; known: attach, hostgroups, listen, tokens'],
  ["attach: all\nattach: defaults", "line 2: duplicate key"],
  ["- attach", "line 1: not a mapping of keys to values"],
  ["attach", "line 1: not a mapping of keys to values"],
  ["attach: all\n  - x: {", "line 1: "],
  ["? [a]\n: all", 'line 1: unknown key "?"'],
  ["hostgroups: {vm: {cpus: 0}}", "line 1: hostgroups.vm.cpus is not an integer from 1 to 255"],
  ["hostgroups:\n  vm:\n    kernel: vmlinuz", 'line 3: hostgroups.vm.kernel "vmlinuz" is not an absolute path'],
  ["hostgroups:\n  vm:\n    runners: [ok, No]", 'line 3: hostgroups.vm.runners.2 "No" is not a user name'],
  ["hostgroups:\n  -vm: {}", "line 2: hostgroups.-vm is not a name"],
  ["hostgroups: [vm]", "line 1: hostgroups is not a mapping"],
  ["__proto__: all", 'line 1: unknown key "__proto__"'],
] as const)("%j is refused with its line", ([text, problem], { expect }) => {
  let thrown: unknown;
  try {
    parseConfig("c.yaml", text);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(HatchwayError);
  expect(thrown).toMatchObject({ code: "invalid", message: expect.stringContaining(`"c.yaml", ${problem}`) as string });
});

test("a file that is not there means the defaults; one that cannot be read is refused", async ({ expect }) => {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-config-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  expect(await readConfig(join(folder, "config.yaml"))).toEqual(parseConfig("", ""));
  await expect(readConfig(folder)).rejects.toMatchObject({ code: "unavailable" });
  await writeFile(join(folder, "config.yaml"), "attach: all\n");
  expect(await readConfig(join(folder, "config.yaml"))).toMatchObject({ attach: "all" });
});

test("a host group says how its VMs are launched and by whom they are run", ({ expect }) => {
  const text =
    "hostgroups:\n  big: {memory_mib: 1024, cpus: 4, kernel: /boot/k, runners: [runner-1, 1002]}\n  small: {}\n";
  expect(parseConfig("c.yaml", text).hostGroups).toEqual([
    { name: "big", launch: { memoryMiB: 1024, cpus: 4, kernel: "/boot/k" }, runners: ["runner-1", 1002] },
    { name: "small", launch: { memoryMiB: 256, cpus: 1 }, runners: [] },
  ]);
  expect(parseConfig("c.yaml", "").hostGroups.map(({ name }) => name)).toEqual(["vm"]);
});
