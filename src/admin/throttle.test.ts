import { test } from "vitest";
import { Throttle } from "#admin/throttle";

test("failures of one address are put off after some, and forgotten after a while", ({ expect }) => {
  let now = 0;
  const throttle = new Throttle(2, 10_000, () => now);
  expect([throttle.fail("a"), throttle.fail("a"), throttle.fail("a")]).toEqual([undefined, undefined, 10]);
  expect(throttle.fail("b")).toBeUndefined();
  now = 9_500;
  expect(throttle.fail("a")).toBe(1);
  now = 10_000;
  expect(throttle.fail("a")).toBeUndefined();
});

test("no more addresses are remembered than fit", ({ expect }) => {
  const throttle = new Throttle(1, 10_000, () => 0);
  throttle.fail("first");
  for (let at = 0; at < 1100; at++) throttle.fail(`other ${at}`);
  expect(throttle.fail("first")).toBeUndefined();
});
