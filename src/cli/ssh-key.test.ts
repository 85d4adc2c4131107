import { execFileSync } from "node:child_process";
import { test } from "vitest";
import { authorizedKey } from "#cli/ssh-key";
import { shellWord } from "#cli/shell-word";

test("the line allows one command and nothing else", ({ expect }) => {
  expect(authorizedKey("ssh-ed25519 AAAA", "/usr/bin/hatchway", "/run/hatchway/vm/web-1/ssh.sock", "web-1")).toBe(
    'restrict,command="/usr/bin/hatchway fetch /run/hatchway/vm/web-1/ssh.sock" ssh-ed25519 AAAA hatchway:web-1',
  );
});

test("a path with quotes and spaces stays one word of the shell, inside the quotes of the option", ({ expect }) => {
  const line = authorizedKey("ssh-ed25519 AAAA", `/home/o'brien/"my" hatchway`, "/run/s", "v");
  const [, command = ""] = /^restrict,command="((?:\\"|[^"])*)" ssh-ed25519 /.exec(line) ?? [];
  const run = command.replaceAll('\\"', '"').replace(/^/, "printf '%s|' ");
  expect(execFileSync("sh", ["-c", run], { encoding: "utf8" })).toBe(`/home/o'brien/"my" hatchway|fetch|/run/s|`);
});

test("a word is left as it is where a shell would", ({ expect }) => {
  expect([shellWord("/a-b_c.d"), shellWord("$x"), shellWord("")]).toEqual(["/a-b_c.d", "'$x'", "''"]);
});
