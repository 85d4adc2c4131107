import { randomUUID } from "node:crypto";
import { onTestFinished, test, vi } from "vitest";
import { receiver } from "#test/kit/unix-sockets";
import { Supervisor } from "./supervisor.ts";

/** Who listens at an abstract name, and a service that is told of it. */
function supervised(more: NodeJS.ProcessEnv = {}) {
  const path = `@hatchway-${randomUUID()}`;
  const { read, close } = receiver(path);
  const env: NodeJS.ProcessEnv = { NOTIFY_SOCKET: path, ...more };
  const supervisor = Supervisor.take(env, 77);
  onTestFinished(() => {
    supervisor?.[Symbol.dispose]();
    close();
  });
  return { supervisor, read, env };
}

test("is told when service is given and when it ends, and no child inherits its address", ({ expect }) => {
  const { supervisor, read, env } = supervised();
  supervisor?.ready("serves on /a\nb");
  supervisor?.stopping();
  expect([read(), read(), read()]).toEqual(["READY=1\nSTATUS=serves on /a b", "STOPPING=1", undefined]);
  expect(env).toEqual({});
});

test("has a sign of life three times in its period, from ready on", ({ expect }) => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const { supervisor, read } = supervised({ WATCHDOG_USEC: "3000000", WATCHDOG_PID: "77" });
  vi.advanceTimersByTime(3000);
  expect(read()).toBeUndefined();
  supervisor?.ready("");
  vi.advanceTimersByTime(3000);
  expect([read(), read(), read(), read(), read()]).toEqual([
    "READY=1\nSTATUS=",
    "WATCHDOG=1",
    "WATCHDOG=1",
    "WATCHDOG=1",
    undefined,
  ]);
});

test("has none that it did not ask this process for", ({ expect }) => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const { supervisor, read } = supervised({ WATCHDOG_USEC: "3000000", WATCHDOG_PID: "78" });
  supervisor?.ready("");
  vi.advanceTimersByTime(30_000);
  expect([read(), read()]).toEqual(["READY=1\nSTATUS=", undefined]);
});

test("is nobody where none is named; one that is gone is no fault, one that cannot be is refused", ({ expect }) => {
  expect(Supervisor.take({})).toBeUndefined();
  const gone = Supervisor.take({ NOTIFY_SOCKET: "/nonexistent/notify" });
  gone?.ready("");
  gone?.[Symbol.dispose]();
  for (const path of ["notify", `/${"a".repeat(108)}`]) {
    expect(() => Supervisor.take({ NOTIFY_SOCKET: path })).toThrow("should be the path of a socket");
  }
});
