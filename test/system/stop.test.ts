// How a daemon ends: at once, whoever waits for something.
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "vitest";
import { call } from "#test/kit/http";
import { Session } from "#test/kit/session";

test("a daemon that is told to stop does not stay for those who wait, and tells them", async ({ expect }) => {
  await using session = await Session.start();
  await session.ok(["vm", "create", "web-1"]);
  const socket = join(session.runtime, "hatchway.sock");
  const waiting = call(socket, "GET", "/vms/web-1?wait=synced&timeout=1h").then(
    ({ status }) => status,
    () => "cut off",
  );
  await sleep(500);
  expect(await session.end("SIGTERM")).toBe(0);
  expect(await waiting).toBe("cut off");
});
