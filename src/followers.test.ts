import { test } from "vitest";
import { Followers } from "#followers";

test("what was before, what comes, and an end", async ({ expect }) => {
  const followers = new Followers();
  const end = new AbortController();
  const pieces = followers.follow(async () => "before\n", end.signal);
  expect(await pieces.next()).toEqual({ done: false, value: "before\n" });
  const next = pieces.next();
  followers.publish("a\n");
  expect(await next).toEqual({ done: false, value: "a\n" });
  followers.publish("b\n");
  followers.publish("c\n");
  expect(await pieces.next()).toEqual({ done: false, value: "b\nc\n" });
  const last = pieces.next();
  end.abort();
  expect(await last).toEqual({ done: true, value: undefined });
});

test("who does not read has a bounded backlog, and is told", async ({ expect }) => {
  const followers = new Followers();
  const end = new AbortController();
  const pieces = followers.follow(async () => "", end.signal);
  await pieces.next();
  for (let at = 0; at < 100; at++) followers.publish("x".repeat(10_000));
  const { value } = await pieces.next();
  expect(value).toContain("(some of it is missing here)");
  expect(String(value).length).toBeLessThan(300_000);
  await pieces.return(undefined);
});
