import { readFileSync } from "node:fs";
import { test } from "vitest";
import { exitCode } from "#error";
import { runCli } from "#test/kit/run-cli";
import { VERSION } from "#version";
import type { ServeOptions } from "./daemon-commands.ts";

test.for([
  [["secrt"], 'unknown command "secrt"', "did you mean secret"],
  [["secret", "list", "--jsno"], 'unknown option "--jsno"', "did you mean --json"],
  [["secret", "create"], 'missing required argument "name"', "see: hatchway secret create --help"],
  [
    ["secret", "create", "--env", "db"],
    'missing required argument "name"',
    "--env took the word behind it: write --env last",
  ],
  [["vm", "launch", "a", "b"], "too many arguments", "see: hatchway vm launch --help"],
  [["vm", "launch", "a", "--wait=boot"], 'unknown option "--wait=boot"', "see: hatchway vm launch --help"],
  [["status", "--connect"], 'option "-c, --connect <uri>" argument missing', "see: hatchway status --help"],
  [["can", "read", "--secret"], 'unknown option "--secret"', "see: hatchway can --help"],
  [["--vm"], 'unknown option "--vm"', "see: hatchway --help"],
] as const)("%j is one line and a hint", async ([argv, message, hint], { expect }) => {
  const outcome = await runCli(argv);
  expect(outcome).toMatchObject({ code: 2, stdout: "" });
  const [error = "", hinted = "", rest] = outcome.stderr.split("\n");
  expect(error).toContain(`error: ${message}`);
  expect(hinted).toBe(`hint: ${hint}`);
  expect(rest).toBe("");
});

test("without a daemon it says how to start one", async ({ expect }) => {
  const outcome = await runCli(["-c", "secret:///session", "status"], { env: { XDG_RUNTIME_DIR: "/nowhere" } });
  expect(outcome).toEqual({
    code: 6,
    stdout: "",
    stderr:
      "error: no daemon is running: /nowhere/hatchway/hatchway.sock does not answer\n" +
      "hint: start one with: hatchway serve --session\n",
  });
});

test("a group without a command shows its help and exits 2", async ({ expect }) => {
  const outcome = await runCli(["secret"]);
  expect(outcome).toMatchObject({ code: 2, stdout: "" });
  expect(outcome.stderr).toContain("list|ls");
});

test("help lists every exit code there is", async ({ expect }) => {
  const { code, stdout } = await runCli(["--help"]);
  expect(code).toBe(0);
  for (const listed of new Set(Object.values(exitCode))) expect(stdout).toMatch(new RegExp(`^  ${listed} `, "m"));
});

test.for([
  ["help", "secret", "create"],
  ["secret", "create", "--help"],
] as const)("%j shows the flags and an example", async (argv, { expect }) => {
  const { code, stdout } = await runCli(argv);
  expect(code).toBe(0);
  expect(stdout).toContain("--from-file <path>");
  expect(stdout).toContain("Examples:");
});

test("colours are for terminals, and not under NO_COLOR", async ({ expect }) => {
  expect((await runCli(["nothing"], { isTerminal: true })).stderr).toContain("\x1b[31merror:");
  expect((await runCli(["nothing"], { isTerminal: true, env: { NO_COLOR: "1" } })).stderr).toMatch(/^error:/);
  expect((await runCli(["nothing"])).stderr).toMatch(/^error:/);
});

test("serve passes its mode on and answers the daemon's exit code", async ({ expect }) => {
  const served: ServeOptions[] = [];
  const serve = (options: ServeOptions): Promise<number> => {
    served.push(options);
    return Promise.resolve(6);
  };
  expect((await runCli(["serve", "--session", "--background", "--state", "/s"], { serve })).code).toBe(6);
  expect((await runCli(["serve", "--system"], { serve })).code).toBe(6);
  expect(served).toEqual([{ mode: "session", background: true, stateDirectory: "/s" }, { mode: "system" }]);
  expect((await runCli(["serve", "--system", "--session"], { serve })).code).toBe(2);
});

test("an error of the daemon, whose bundle has a class of its own, keeps its code", async ({ expect }) => {
  const foreign = Object.assign(new Error("the store is open"), {
    name: "HatchwayError",
    code: "locked",
    hint: "wait",
  });
  expect(await runCli(["serve"], { serve: () => Promise.reject(foreign) })).toEqual({
    code: 6,
    stdout: "",
    stderr: "error: the store is open\nhint: wait\n",
  });
});

test("the version is the package's", async ({ expect }) => {
  const manifest = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  expect(VERSION).toBe(manifest.version);
  expect((await runCli(["version"])).stdout).toContain(`hatchway ${VERSION}`);
});
