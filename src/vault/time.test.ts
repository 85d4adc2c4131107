// A host whose clock goes back, or comes up wrong.
import { afterEach, beforeEach, test, vi } from "vitest";
import { admin, TestVault } from "#test/kit/vault";

const NOON = Date.UTC(2026, 0, 31, 12);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: NOON });
});
afterEach(() => {
  vi.useRealTimers();
});

test("no version and no line is older than the one before, over a restart too", async ({ expect }) => {
  await using made = await TestVault.open({ store: "sqlite" });
  await made.set("db", "one");
  await made.vm("web", "db");
  vi.setSystemTime(NOON - 3_600_000);
  await made.set("db", "two");
  await made.stop();
  vi.setSystemTime(NOON - 86_400_000);
  await made.start();
  await made.set("db", "three");
  vi.setSystemTime(NOON + 1_000);
  await made.set("db", "four");

  const versions = await made.vault.history(admin, "db");
  expect(versions.map(({ version, at }) => [version, at - NOON])).toEqual([
    [4, 1_000],
    [3, 0],
    [2, 0],
    [1, 0],
  ]);
  expect(await made.vault.secret(admin, "db")).toMatchObject({ createdAt: NOON, modifiedAt: NOON + 1_000 });
  const times = (await made.audit()).map(({ time }) => time);
  expect(times).toEqual(times.toSorted());
  expect(times[0]).toBe(new Date(NOON).toISOString());
  await made.vault.trail.verify(admin);
});
