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
  expect(parseConfig("c.yaml", text)).toEqual({ attach });
});

test.for([
  ["attach: ALL", 'line 1: attach is "defaults" or "all"'],
  ["attach: true", 'line 1: attach is "defaults" or "all"'],
  ["attach: [all]", 'line 1: attach is "defaults" or "all"'],
  ["attach:", 'line 1: attach is "defaults" or "all"'],
  ["# one\n\natach: all", 'line 3: unknown key "atach"; known: attach'],
  ["attach: all\nattach: defaults", "line 2: duplicate key"],
  ["- attach", "line 1: not a mapping of keys to values"],
  ["attach", "line 1: not a mapping of keys to values"],
  ["attach: all\n  - x: {", "line 1: "],
  ["? [a]\n: all", 'line 1: unknown key "?"'],
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
  expect(await readConfig(join(folder, "config.yaml"))).toEqual({ attach: "defaults" });
  await expect(readConfig(folder)).rejects.toMatchObject({ code: "unavailable" });
  await writeFile(join(folder, "config.yaml"), "attach: all\n");
  expect(await readConfig(join(folder, "config.yaml"))).toEqual({ attach: "all" });
});
