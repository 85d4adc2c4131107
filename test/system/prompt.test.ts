import { execFile, spawn } from "node:child_process";
import { promisify } from "node:util";
import { test } from "vitest";
import { startSessionDaemon, type SessionDaemon } from "#test/kit/session-daemon";

interface Answers {
  /** What stands on the terminal at last. */
  screen: string;
  code: number | null;
}

/** Runs a command on a terminal of its own (script(1)) and types each answer when what comes before it is shown. */
function onTerminal(
  daemon: SessionDaemon,
  command: string,
  answers: readonly (readonly [after: string, typed: string])[],
): Promise<Answers> {
  const child = spawn("script", ["--quiet", "--return", "--command", command, "/dev/null"], { env: daemon.env });
  const left = [...answers];
  let screen = "";
  child.stdout.on("data", (chunk: Buffer) => {
    screen += chunk.toString("utf8");
    const next = left[0];
    if (next === undefined || !screen.endsWith(next[0])) return;
    left.shift();
    child.stdin.write(next[1]);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ screen, code }));
  });
}

test("a value that is typed on a terminal is stored and never shown", async ({ expect }) => {
  await using daemon = await startSessionDaemon();
  const { screen, code } = await onTerminal(daemon, "hatchway secret create typed; stty", [
    ['value of "typed" (hidden): ', "gehex\x7fim\r"],
    ["the same again: ", "geheim\r"],
  ]);
  expect(code).toBe(0);
  expect(screen).toContain('created secret "typed" (6 bytes, version 1)');
  expect(screen).not.toContain("gehe");
  expect(screen).not.toContain("-echo");
});

test("Ctrl-C at the prompt gives the terminal back and stores nothing", async ({ expect }) => {
  await using daemon = await startSessionDaemon();
  const { screen } = await onTerminal(daemon, "hatchway secret create typed; echo code $?; stty", [
    ['value of "typed" (hidden): ', "geh\x03"],
  ]);
  expect(screen).toContain("code 130");
  expect(screen).not.toContain("geh");
  expect(screen).not.toContain("-echo");
  const { stdout } = await promisify(execFile)("hatchway", ["secret", "list", "--json"], { env: daemon.env });
  expect(JSON.parse(stdout)).toEqual([]);
});
