import process from "node:process";
import { test } from "vitest";
import { identify, isAlive, parseStat } from "./process.ts";

const rest = "1 4242 4242 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 918273 1 2 3";

test("finds the start time behind a program's name, whatever the name holds", ({ expect }) => {
  for (const name of ["qemu", "a b", ") S 1 2", "((", "x) R 9 9 9 9"]) {
    expect(parseStat(`4242 (${name}) S ${rest}`)).toEqual({ state: "S", startTime: 918273 });
  }
});

test("refuses a line that is cut", ({ expect }) => {
  expect(() => parseStat("4242 (qemu) S 1 4242")).toThrow("proc(5)");
  expect(() => parseStat("")).toThrow("proc(5)");
});

test("this process is alive; one with another start time or boot is not", ({ expect }) => {
  const self = identify(process.pid);
  if (self === undefined) throw new Error("no identity");
  expect(isAlive(self)).toBe(true);
  expect(isAlive({ ...self, startTime: self.startTime - 1 })).toBe(false);
  expect(isAlive({ ...self, bootId: "another" })).toBe(false);
});
