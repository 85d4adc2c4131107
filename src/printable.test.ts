import { assert, constantFrom, property, string } from "fast-check";
import { test } from "vitest";
import { stripControl } from "./printable.ts";

test("keeps text, newlines and tabs", ({ expect }) => {
  expect(stripControl("größe\t日本 \u{1f600}\nnext")).toBe("größe\t日本 \u{1f600}\nnext");
});

test("drops controls and keeps what is around them", ({ expect }) => {
  expect(stripControl("a\0b\x07c\x08d\x7fe\x85f\x9bg\r\n")).toBe("abcdefg\n");
  expect(stripControl("user\u202egpj.exe\u2066")).toBe("usergpj.exe");
});

test("drops whole escape sequences", ({ expect }) => {
  expect(stripControl("\x1b[31mred\x1b[0m \x1b[2J\x1b[?1049h.")).toBe("red .");
  expect(stripControl("\x1b]0;title\x07a\x1b]52;c;ZXZpbA==\x1b\\b\x1bPq#0\x1b\\c")).toBe("abc");
  expect(stripControl("\x1b(Ba\x1bcb\x1b")).toBe("ab");
});

test("an escape sequence that is not closed hides no more than its line", ({ expect }) => {
  expect(stripControl("\x1b]0;never closed\nnext")).toBe("\nnext");
  expect(stripControl("\x1b[12\x1b[31mred")).toBe("red");
});

test("nothing that a terminal obeys is left of any text", ({ expect }) => {
  const hostile = string({
    unit: constantFrom("\x1b", "[", "]", "P", "\\", "\x07", "\n", "\x9b", "3", "m", "a"),
  });
  assert(
    property(hostile, (text) => {
      const units = Array.from(stripControl(text), (character) => character.charCodeAt(0));
      return units.every((unit) => unit === 0x0a || (unit >= 0x20 && unit < 0x7f));
    }),
  );
  expect.assertions(0);
});
