import { test } from "vitest";
import { parseCache } from "./kvm.ts";

test("a cache gives what it holds and nothing else", ({ expect }) => {
  expect(parseCache('{"a": {"kind": "kvm"}, "b": {"kind": "tcg", "reason": "why"}}')).toEqual({
    a: { kind: "kvm" },
    b: { kind: "tcg", reason: "why" },
  });
  for (const broken of ["", "{", "[]", "null", '"x"', '{"a": 1}', '{"a": null}', '{"a": {"kind": "tcg"}}']) {
    expect(parseCache(broken)).toEqual({});
  }
});
