import { describe, test } from "vitest";
import { runCli } from "#test/kit/run-cli";
import { scriptDaemon } from "#test/kit/scripted-daemon";

const routes = {
  "GET /secrets": [200, [{ name: "db-password" }, { name: "tls.key" }]],
  "GET /vms": [200, [{ name: "web-1" }]],
} as const;

describe("what Tab offers", () => {
  test.for([
    [["sec"], ["secret"]],
    [["secret", "ro"], ["rollback"]],
    [
      ["secret", "show", ""],
      ["db-password", "tls.key"],
    ],
    [["secret", "show", "t"], ["tls.key"]],
    [["secret", "show", "tls.key", ""], []],
    [["secret", "rm", "tls.key", "d"], ["db-password"]],
    [["secret", "create", ""], []],
    [
      ["secret", "rename", ""],
      ["db-password", "tls.key"],
    ],
    [["secret", "rename", "tls.key", ""], []],
    [["secret", "update", "--wa"], ["--wait"]],
    [["secret", "update", "--uid", ""], []],
    [
      ["secret", "update", "--wait", ""],
      ["db-password", "tls.key"],
    ],
    [["vm", "launch", "x", "--secret", "d"], ["db-password"]],
    [["vm", "attach", ""], ["web-1"]],
    [["vm", "attach", "web-1", "db-password", "t"], ["tls.key"]],
    [["vm", "ls", ""], []],
    [["vm", "shell", "web-1", "--", ""], []],
    [["vm", "args", "w"], ["web-1"]],
    [["vm", "args", "web-1", "--vmm", "li"], ["libvirt"]],
    [["-c", "unix:///x", "vm", "deta"], ["detach"]],
  ] as const)("at %j is %j", async ([words, expected], { expect }) => {
    await using daemon = await scriptDaemon(routes);
    const ran = await runCli(["-c", daemon.uri, "completion", "candidates", "--", ...words], {
      env: { HATCHWAY_URI: daemon.uri },
    });
    expect(ran.code).toBe(0);
    const lines = ran.stdout.split("\n").filter((line) => line !== "");
    expect(lines.map((line) => line.split("\t")[0])).toEqual(expected);
    expect(lines.every((line) => /^[^\t]+\t[^\t]+$/.test(line))).toBe(true);
  });

  test("is everything but names where no daemon answers", async ({ expect }) => {
    const ran = await runCli(["completion", "candidates", "--", "secret", "show", ""], {
      env: { HATCHWAY_URI: "unix:///nowhere.sock" },
    });
    expect(ran).toMatchObject({ code: 0, stdout: "" });
    expect(ran.stderr).toContain("warning: no names of secrets: no daemon is running");
  });
});

test("a shell that there is no completion for is refused", async ({ expect }) => {
  const ran = await runCli(["completion", "csh"]);
  expect(ran).toMatchObject({ code: 2, stdout: "" });
  expect(ran.stderr).toContain('there is no completion for "csh": for bash, zsh and fish there is');
});
