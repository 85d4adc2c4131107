import { test } from "vitest";
import { formatAge, formatSpan, parseCount, parseDuration, parseMemory } from "./quantity.ts";

test.for([
  ["10s", 10_000],
  ["500ms", 500],
  ["2m", 120_000],
  ["1h", 3_600_000],
  ["7", 7000],
] as const)("a duration of %s", ([text, milliseconds], { expect }) => {
  expect(parseDuration("--timeout", text)).toBe(milliseconds);
});

test.for(["", "0", "-1s", "1.5s", "10 s", "1d", "25h", "s"])('"%s" is no duration', (text, { expect }) => {
  expect(() => parseDuration("--timeout", text)).toThrow(`--timeout "${text}" is not a duration`);
});

test("memory is in MiB unless it says G", ({ expect }) => {
  expect(["256", "256M", "2G", "1GiB"].map((text) => parseMemory("--memory", text))).toEqual([256, 256, 2048, 1024]);
  expect(() => parseMemory("--memory", "lots")).toThrow('--memory "lots" is not an amount of memory');
  expect(() => parseMemory("--memory", "0")).toThrow("is not an amount");
});

test("a count has a least value", ({ expect }) => {
  expect(parseCount("--cpus", "4", 1)).toBe(4);
  expect(() => parseCount("--cpus", "0", 1)).toThrow('--cpus "0" is not a whole number of at least 1');
});

test("spans and ages are in their largest unit", ({ expect }) => {
  expect([0, -5, 999, 61_000, 7_200_000, 900_000_000].map(formatSpan)).toEqual(["0s", "0s", "0s", "1m", "2h", "10d"]);
  expect(formatAge("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:00:03Z"))).toBe("3s ago");
  expect(formatAge(undefined)).toBe("never");
});
