import { test } from "vitest";
import { Clock } from "#clock";

test("stands still while the host's clock is behind, says so once, and goes on with it", ({ expect }) => {
  const words: string[] = [];
  let host = Date.UTC(2026, 0, 31, 12);
  const began = host;
  const clock = new Clock(
    (line) => void words.push(line),
    () => host,
  );
  expect(clock.now()).toBe(began);
  host += 5_000;
  expect(clock.now()).toBe(began + 5_000);
  host -= 900;
  expect(clock.now()).toBe(began + 5_000);
  expect(words).toEqual([]);
  host -= 3_600_000;
  for (let asked = 0; asked < 3; asked++) expect(clock.now()).toBe(began + 5_000);
  expect(words).toEqual([
    "the host's clock went back by 3601 s: what is written says 2026-01-31T12:00:05.000Z till then",
  ]);
  host += 7_200_000;
  expect(clock.now()).toBe(host);
  host -= 10_000;
  clock.now();
  expect(words.length).toBe(2);
});

test("is never before a time that was written by an earlier process", ({ expect }) => {
  const clock = new Clock(undefined, () => 1_000);
  clock.was(9_000);
  clock.was(5_000);
  expect(clock.now()).toBe(9_000);
});
