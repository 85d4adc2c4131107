import * as fc from "fast-check";
import { describe, it } from "vitest";
import { ProtocolError } from "./error.ts";
import { ascii, asciiBytes, parseJson } from "./json.ts";

const read = (text: string): unknown => parseJson(asciiBytes(text), "test");

const key = fc.string({ unit: "grapheme-ascii" });
const { tree } = fc.letrec<{ tree: unknown; leaf: unknown }>((tie) => ({
  leaf: fc.oneof(fc.constant(null), fc.boolean(), fc.maxSafeInteger(), fc.string({ unit: "binary" })),
  tree: fc.oneof(
    { maxDepth: 6, withCrossShrink: true },
    tie("leaf"),
    fc.array(tie("tree"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(key, fc.constant("__proto__")), tie("tree"), { maxKeys: 4 }),
  ),
}));

/** JSON in ASCII: every other character as an escape. */
function asciiJson(value: unknown, indent: number): string {
  return JSON.stringify(value, undefined, indent).replace(
    /[^\n -~]/g,
    (char) => String.raw`\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Text that is nearly JSON: its tokens in any order. */
const tokens = fc
  .array(
    fc.constantFrom(...'{ } [ ] , : " \\ 0 1 - . e true false null \n \t u0041 \\u004 \\x \\n'.split(" "), '"a"', " "),
    { maxLength: 24 },
  )
  .map((words) => words.join(""));

describe("json", () => {
  it("agrees with JSON.parse on everything in its subset", ({ expect }) => {
    fc.assert(
      fc.property(tree, fc.constantFrom(0, 1), (value, indent) => {
        const text = asciiJson(value, indent);
        expect(JSON.stringify(read(text))).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  it("throws nothing but ProtocolError, and accepts nothing that JSON.parse refuses or reads differently", ({
    expect,
  }) => {
    const check = (bytes: Uint8Array): void => {
      try {
        const value = parseJson(bytes, "test");
        expect(JSON.stringify(value)).toBe(JSON.stringify(JSON.parse(Buffer.from(bytes).toString("latin1"))));
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), check), { numRuns: 500 });
    fc.assert(
      fc.property(tokens, (text) => check(Buffer.from(text, "latin1"))),
      { numRuns: 2000 },
    );
  });

  it("refuses what would be read differently elsewhere", ({ expect }) => {
    const refused: [text: string, rule: RegExp][] = [
      ['{"a":1,"a":2}', /duplicate key "a"/],
      [String.raw`{"a":1,"\u0061":2}`, /duplicate key "a"/],
      ['{"__proto__":1,"__proto__":2}', /duplicate key "__proto__"/],
      ["[1.0]", /numbers are integers/],
      ["[1e3]", /numbers are integers/],
      ["[01]", /numbers are integers/],
      ["[12345678901234567]", /numbers are integers/],
      ["[+1]", /expected a value/],
      ["[NaN]", /expected a value/],
      ["[1,]", /expected a value/],
      ['{"a":1,}', /a key must be a string/],
      ["[] []", /something follows the value/],
      ["", /expected a value/],
      ['"a', /does not end/],
      ['"a\nb"', /does not end/],
      ['"a\\', /bad escape/],
      [String.raw`"\x41"`, /bad escape/],
      [String.raw`"\u12"`, /bad escape/],
    ];
    for (const [text, rule] of refused) expect(() => read(text), text).toThrow(rule);
    expect(() => parseJson(Uint8Array.of(0x22, 0xc3, 0xa9, 0x22), "test")).toThrow(/byte 1 is not printable ascii/);
    expect(() => parseJson(Uint8Array.of(0xef, 0xbb, 0xbf, 0x31), "test")).toThrow(/byte 0/);
  });

  it("nests to 8 and no deeper", ({ expect }) => {
    expect(() => read(`${"[".repeat(8)}1${"]".repeat(8)}`)).not.toThrow();
    expect(() => read(`${"[".repeat(9)}${"]".repeat(9)}`)).toThrow(/nested deeper than 8/);
    expect(() => read("[".repeat(100_000))).toThrow(/nested deeper than 8/);
    expect(() => read('{"a":'.repeat(100_000))).toThrow(/nested deeper than 8/);
  });

  it("lets no control character of a key into a message", ({ expect }) => {
    const escape = String.raw`\u001b[31m`;
    for (const text of [`{"${escape}":1}`, `{"${escape}":1,"${escape}":2}`, String.raw`{"\u202e":1}`]) {
      expect(() => read(text)).toThrow(/a key must be printable ascii/);
    }
  });

  it("quotes nothing of a string that it refuses, in the error or its cause", ({ expect }) => {
    try {
      read(String.raw`{"key":"c0ffee\q"}`);
      expect.fail("it was accepted");
    } catch (error) {
      expect(error).toBeInstanceOf(ProtocolError);
      expect(error).toHaveProperty("message", "test: offset 7: bad escape in a string");
      expect(error).not.toHaveProperty("cause");
    }
  });

  it("makes __proto__ a key like any other", ({ expect }) => {
    const value = read('{"__proto__":{"polluted":1}}');
    expect(Object.keys(value as object)).toEqual(["__proto__"]);
    expect({}).not.toHaveProperty("polluted");
  });

  it("decodes ascii in pieces and names the offset of the first bad byte", ({ expect }) => {
    const bytes = new Uint8Array(10_000).fill(0x61);
    expect(ascii(bytes, "test")).toBe("a".repeat(10_000));
    for (const bad of [0, 0x09, 0x0d, 0x1b, 0x7f, 0x80, 0xff]) {
      expect(() => ascii(bytes.with(9_000, bad), "test"), `${bad}`).toThrow("test: byte 9000 is not printable ascii");
    }
    expect(() => asciiBytes("aé")).toThrow("character 1 is not ascii");
  });
});
