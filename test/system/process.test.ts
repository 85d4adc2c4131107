import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "vitest";
import { identify, isAlive, signalProcess } from "#vmm/process";

test("a signal reaches the process that is meant and no other that has its id", async ({ expect }) => {
  const child = spawn("sleep", ["60"]);
  await once(child, "spawn");
  const identity = identify(child.pid ?? 0);
  if (identity === undefined) throw new Error("no identity");
  expect(signalProcess({ ...identity, startTime: identity.startTime + 1 }, "SIGKILL")).toBe(false);
  expect(isAlive(identity)).toBe(true);
  const ended = once(child, "exit");
  expect(signalProcess(identity, "SIGKILL")).toBe(true);
  await ended;
  expect(isAlive(identity)).toBe(false);
  expect(signalProcess(identity, "SIGKILL")).toBe(false);
});

test("a process that has ended and was not yet waited for is not alive", async ({ expect }) => {
  // The shell's child ends at once; the sleep that the shell becomes never waits for it.
  const parent = spawn("sh", ["-c", "true & echo $!; exec sleep 60"], { stdio: ["ignore", "pipe", "ignore"] });
  const [line] = (await once(parent.stdout, "data")) as [Buffer];
  const pid = Number(line.toString());
  while (identify(pid) !== undefined) await new Promise((done) => setTimeout(done, 5));
  expect(identify(pid)).toBeUndefined();
  parent.kill("SIGKILL");
  await once(parent, "exit");
});
