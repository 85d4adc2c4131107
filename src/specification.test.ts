// SPECIFICATION.md: every promise has a number of its own and names tests that exist, or says that none proves it yet.
import { readFileSync } from "node:fs";
import { describe, it } from "vitest";

const root = new URL("../", import.meta.url);
const rows = readFileSync(new URL("SPECIFICATION.md", root), "utf8")
  .split("\n")
  .flatMap((line) => {
    const [, number, promise, proof] = /^\| ([A-Z]+[0-9]+) \| (.*) \| (.*) \|$/.exec(line) ?? [];
    return number === undefined ? [] : [{ number, promise: promise ?? "", proof: proof ?? "" }];
  });

/**
 * The titles of a file's tests, as patterns: where a title is a template, anything may stand for what is filled in.
 */
function titles(path: string): RegExp[] {
  const source = readFileSync(new URL(path, root), "utf8");
  return Array.from(
    source.matchAll(/\b(?:it|test)(?:\.(?:each|for)\(\w+\))?\(\s*(["'`])((?:\\.|(?!\1).)*)\1/g),
    ([, quote, title = ""]) => {
      const parts = quote === "`" ? title.split(/\$\{[^}]*\}/) : [title.replace(/\\(.)/g, "$1")];
      return new RegExp(`^${parts.map((part) => RegExp.escape(part)).join(".+")}$`);
    },
  );
}

describe("SPECIFICATION.md", () => {
  it("numbers each promise once", ({ expect }) => {
    const numbers = rows.map(({ number }) => number);
    expect(numbers.length).toBeGreaterThan(0);
    expect(numbers).toEqual([...new Set(numbers)]);
  });

  it("has no row whose number or columns are not read", ({ expect }) => {
    const lines = readFileSync(new URL("SPECIFICATION.md", root), "utf8").split("\n");
    const tables = lines.filter((line) => line.startsWith("|") && !/^\| \| Promise \| Proof \|$|^\|[-|]+$/.test(line));
    expect(tables.length).toBe(rows.length);
  });

  for (const { number, promise, proof } of rows) {
    it(`${number} names tests that exist: ${promise}`, ({ expect }) => {
      const tests = Array.from(proof.matchAll(/`([^`]+)`: "([^"]+)"/g), ([, path = "", title = ""]) => ({
        path,
        title,
      }));
      if (tests.length === 0) expect(proof).toContain("**not yet proven**");
      for (const { path, title } of tests) {
        expect(
          titles(path).some((pattern) => pattern.test(title)),
          `${path} has no test "${title}"`,
        ).toBe(true);
      }
    });
  }
});
