import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "vitest";
import { sessionPlaces, systemPlaces } from "#places";

test("a session follows the XDG variables", ({ expect }) => {
  const env = { HOME: "/home/ada", XDG_STATE_HOME: "/s", XDG_CONFIG_HOME: "/c", XDG_RUNTIME_DIR: "/r" };
  expect(sessionPlaces(env, 1000)).toEqual({
    state: "/s/hatchway",
    config: "/c/hatchway/config.yaml",
    runtime: "/r/hatchway",
    socket: "/r/hatchway/hatchway.sock",
  });
});

test("a variable that is empty or relative counts as unset", ({ expect }) => {
  const env = { HOME: "/home/ada", XDG_STATE_HOME: "", XDG_CONFIG_HOME: "conf", XDG_RUNTIME_DIR: "run" };
  expect(sessionPlaces(env, 1000, "/absent")).toEqual({
    state: "/home/ada/.local/state/hatchway",
    config: "/home/ada/.config/hatchway/config.yaml",
    runtime: "/home/ada/.local/state/hatchway/run",
    socket: "/home/ada/.local/state/hatchway/run/hatchway.sock",
  });
});

test("without XDG_RUNTIME_DIR the user's folder under /run/user is taken if it is his", ({
  expect,
  onTestFinished,
}) => {
  const root = mkdtempSync(join(tmpdir(), "hatchway-places-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  const uid = process.getuid?.() ?? 0;
  mkdirSync(join(root, String(uid)));
  mkdirSync(join(root, String(uid + 1)));
  const env = { HOME: "/home/ada" };
  expect(sessionPlaces(env, uid, root).socket).toBe(join(root, String(uid), "hatchway/hatchway.sock"));
  expect(sessionPlaces(env, uid + 1, root).socket).toBe("/home/ada/.local/state/hatchway/run/hatchway.sock");
});

test("the system daemon is at fixed places", ({ expect }) => {
  expect(systemPlaces().socket).toBe("/run/hatchway/hatchway.sock");
});
