import { assert, property, string, uint8Array } from "fast-check";
import { it } from "vitest";
import { decodeUtf8, encodeUtf8, hex, isUtf8, printable } from "#agent/text";

it("UTF-8 is what Node makes of it, both ways", ({ expect }) => {
  assert(
    property(string({ unit: "binary" }), (text) => {
      expect(Buffer.from(encodeUtf8(text))).toEqual(Buffer.from(text));
      expect(decodeUtf8(Buffer.from(text))).toBe(text);
    }),
  );
});

it("bytes are UTF-8 exactly when Node's strict decoder takes them", ({ expect }) => {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const accepted = (bytes: Uint8Array): boolean => {
    try {
      strict.decode(bytes);
      return true;
    } catch (error) {
      return !(error instanceof TypeError);
    }
  };
  assert(
    property(uint8Array({ maxLength: 6 }), (bytes) => {
      expect(isUtf8(bytes)).toBe(accepted(bytes));
    }),
    { numRuns: 2000 },
  );
  for (const bytes of [
    [0xc0, 0x80],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0xe2, 0x82],
    [0xf8, 0x88, 0x80, 0x80, 0x80],
  ]) {
    expect(isUtf8(Uint8Array.from(bytes))).toBe(false);
  }
});

it("hex and printable", ({ expect }) => {
  expect(hex(Uint8Array.from([0, 15, 255]))).toBe("000fff");
  expect(printable("a\u001b[31mb\nc", 6)).toBe("a?[31m");
});
