import * as fc from "fast-check";
import { describe, test } from "vitest";
import { quoted, readJson } from "#admin/json-value";
import { HatchwayError } from "#error";

const known = new Set(["name", "data", "secrets", "é"]);

function readText(text: string): ReturnType<typeof readJson> {
  return readJson(Buffer.from(text), known, true);
}

/** The one line of the refusal. */
function refusal(body: string | Buffer): string {
  try {
    readJson(Buffer.from(body), known, true);
  } catch (thrown) {
    if (thrown instanceof HatchwayError && thrown.code === "invalid") return thrown.message;
    throw thrown;
  }
  return "accepted";
}

test("any value comes out of any place in the object, and is not in the rest", ({ expect }) => {
  const spaces = fc.constantFrom("", " ", "\n\t", "\r\n");
  const rest = fc.record({ name: fc.string(), secrets: fc.array(fc.jsonValue({ maxDepth: 3 })) }, { requiredKeys: [] });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), rest, fc.nat(2), spaces, (bytes, other, place, space) => {
      const members = Object.entries(other).map(
        ([key, value]) => `${JSON.stringify(key)}${space}:${JSON.stringify(value)}`,
      );
      members.splice(place, 0, `"data"${space}:${space}"${Buffer.from(bytes).toString("base64")}"`);
      const { json, value } = readText(`${space}{${members.join(`${space},`)}}${space}`);
      expect(value).toEqual(Buffer.from(bytes));
      expect(json).toEqual(JSON.parse(JSON.stringify(other)));
    }),
  );
});

test("whatever the bytes are, it is read as JSON.parse reads it, or refused", ({ expect }) => {
  const pieces = fc.constantFrom(
    "{",
    "}",
    '"',
    ":",
    ",",
    "[",
    "]",
    "\\",
    "name",
    "data",
    "YQ==",
    "null",
    "1",
    " ",
    "\0",
    "-0.5e3",
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 20 }), (parts) => {
      const text = parts.join("");
      if (refusal(text) === "accepted") expect(() => JSON.parse(text)).not.toThrow();
    }),
    { numRuns: 3000 },
  );
});

describe("escapes of base64 that encoders write", () => {
  test.for([
    [String.raw`"+\/8="`, "fbff"],
    [String.raw`"\u002b\u002f8\u003d"`, "fbff"],
    [String.raw`"\u002B\u002F8\u003D"`, "fbff"],
    [`""`, ""],
  ])("%s", ([data, hex], { expect }) => {
    expect(readText(`{"data":${data}}`).value?.toString("hex")).toBe(hex);
  });
});

describe("refused, and nothing of the value is in the message", () => {
  test.for([
    ['{"data":"QQ==","data":"Qg=="}', 'the key "data" is there twice'],
    [String.raw`{"data":"QQ==","d\u0061ta":"Qg=="}`, 'the key "data" is there twice'],
    ['{"name":"a","name":"b"}', 'the key "name" is there twice'],
    ['{"secrets":[{"name":1,"name":2}]}', 'the key "name" is there twice'],
    ['{"Data":"U0VDUkVU"}', 'unknown key "Data"'],
    ['{"data":1}', "data is not a string"],
    ['{"data":null}', "data is not a string"],
    ['{"data":["U0VDUkVU"]}', "data is not a string"],
    ['{"data":"U0VDUkVU!"}', "data is not base64: its character 8 is not of the standard alphabet"],
    ['{"data":"U0VD-_VU"}', "data is not base64: its character 4 is not of the standard alphabet"],
    [String.raw`{"data":"U0VD\nUkVU"}`, "data is not base64: its character 4 is not of the standard alphabet"],
    [String.raw`{"data":"U0VD\u0041kVU"}`, "data is not base64: its character 4 is not of the standard alphabet"],
    ['{"data":"U0VDUkV"}', "data is not base64: its length with padding is not a multiple of 4"],
    ['{"data":"U0VDU==="}', "data is not base64: its length with padding is not a multiple of 4"],
    ['{"data":"U0VDUh=="}', "data is not base64: the bits after its last byte are not zero"],
    ['{"data":"U0==VDUk"}', "data is not base64: something follows the padding at 4"],
    ['{"data":"U0VD', "the request's body is not JSON: at byte 8 a string does not end"],
    ['{"data":"U0VD\0"}', "the request's body is not JSON: at byte 8 a string has a control character"],
    ['{"data":"U0VD"', 'the request\'s body is not JSON: at byte 14 "," or "}" is to follow a member'],
    ['{"data":"U0VD",}', "the request's body is not JSON: at byte 15 a key is to be a string"],
    ['{"data":"U0VD"} {}', "the request's body is not JSON: at byte 16 something follows the object"],
    ['{"name":tru}', "the request's body is not JSON: at byte 8 a value is to be here"],
    ['{"name":01}', "the request's body is not JSON: at byte 8 a value is to be here"],
    [String.raw`{"name":"\x"}`, "the request's body is not JSON: a string has a bad escape"],
    ['"U0VDUkVU"', "the request's body is not a JSON object"],
    ["", "the request's body is not a JSON object"],
    ["\uFEFF{}", "the request's body is not a JSON object"],
    [`{"secrets":${"[".repeat(2000)}`, "the request's body is not JSON: at byte 19 nested deeper than 8"],
  ])("%s", ([body, message], { expect }) => {
    expect(refusal(body ?? "")).toBe(message);
    expect(message).not.toMatch(/U0|SECRET/);
  });

  test("bytes that are not UTF-8", ({ expect }) => {
    expect(refusal(Buffer.from('{"name":"\xff"}', "latin1"))).toBe("the request's body is not UTF-8");
  });
});

test("a nested member called data is not the value", ({ expect }) => {
  const { json, value } = readText('{"secrets":[{"data":"QQ=="}]}');
  expect(value).toBeUndefined();
  expect(json).toEqual({ secrets: [{ data: "QQ==" }] });
});

test("a value of a mebibyte", ({ expect }) => {
  const bytes = Buffer.alloc(1_048_576, 0xa5);
  expect(readText(`{"data":"${bytes.toString("base64")}"}`).value?.equals(bytes)).toBe(true);
});

test("what is quoted has no control characters and an end", ({ expect }) => {
  expect(quoted("\u001b[2J")).toBe(String.raw`"\u001b[2J"`);
  expect(quoted("a".repeat(500))).toHaveLength(102);
});
