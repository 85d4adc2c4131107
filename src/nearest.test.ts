import { test } from "vitest";
import { nearest } from "./nearest.ts";

const KEYS = ["attach", "hostgroups", "listen", "tokens", "roles"];

test.for([
  ["atach", "attach"],
  ["attahc", "attach"],
  ["hostgroup", "hostgroups"],
  ["token", "tokens"],
  ["role", "roles"],
  ["host", "hostgroups"],
  ["lsiten", "listen"],
  ["Attach", "attach"],
  ["store", undefined],
  ["x", undefined],
  ["", undefined],
  ["a".repeat(2_000), undefined],
] as const)("%s is nearest to %s", ([word, key], { expect }) => {
  expect(nearest(word, KEYS)).toBe(key);
});
