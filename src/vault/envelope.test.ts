import { describe, test } from "vitest";
import { HatchwayError } from "#error";
import { Key, open, openRecord, openValue, seal, sealRecord, sealValue, type TermKeys } from "#vault/envelope";

const VALUE = Buffer.from("the value itself");
const PLACE = Buffer.from("here");

function terms(current: number, keys: Record<number, Key>): TermKeys {
  return {
    current,
    key(term) {
      const key = keys[term];
      if (!key) throw new HatchwayError("corrupt", `no term ${term}`);
      return key;
    },
  };
}

const both = [
  { kind: "record", sealIt: sealRecord, openIt: openRecord },
  { kind: "value", sealIt: sealValue, openIt: openValue },
] as const;

describe.each(both)("a sealed $kind", ({ sealIt, openIt }) => {
  const ring = terms(1, { 1: Key.random(), 2: Key.random() });
  const corrupt = { code: "corrupt", name: "HatchwayError" };

  test("opens in its place", ({ expect }) => {
    expect(openIt(ring, sealIt(ring, VALUE, PLACE), PLACE).equals(VALUE)).toBe(true);
    const nothing = Buffer.alloc(0);
    expect(openIt(ring, sealIt(ring, nothing, PLACE), PLACE)).toHaveLength(0);
  });

  test("opens nowhere else", ({ expect }) => {
    const row = sealIt(ring, VALUE, PLACE);
    for (const place of ["there", "", "her", "here\0"]) {
      expect(() => openIt(ring, row, Buffer.from(place))).toThrow(expect.objectContaining(corrupt));
    }
  });

  test("does not open with any bit of it changed", ({ expect }) => {
    const row = sealIt(ring, VALUE, PLACE);
    for (let bit = 0; bit < row.length * 8; bit++) {
      const edited = Buffer.from(row);
      edited[bit >> 3] = (edited[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(() => openIt(ring, edited, PLACE), `bit ${bit}`).toThrow(expect.objectContaining(corrupt));
    }
  });

  test("does not open cut short or with a byte more", ({ expect }) => {
    const row = sealIt(ring, VALUE, PLACE);
    for (let size = 0; size < row.length; size++) {
      expect(() => openIt(ring, row.subarray(0, size), PLACE), `${size} bytes`).toThrow(
        expect.objectContaining(corrupt),
      );
    }
    expect(() => openIt(ring, Buffer.concat([row, Buffer.alloc(1)]), PLACE)).toThrow(expect.objectContaining(corrupt));
  });

  test("opens under the term that it was sealed under, and only there", ({ expect }) => {
    const [one, two] = [Key.random(), Key.random()];
    const row = sealIt(terms(1, { 1: one }), VALUE, PLACE);
    expect(openIt(terms(2, { 1: one, 2: two }), row, PLACE).equals(VALUE)).toBe(true);
    expect(() => openIt(terms(2, { 2: two }), row, PLACE)).toThrow(expect.objectContaining(corrupt));
    expect(() => openIt(terms(1, { 1: two }), row, PLACE)).toThrow(expect.objectContaining(corrupt));
  });

  test("is other bytes each time", ({ expect }) => {
    expect(sealIt(ring, VALUE, PLACE).equals(sealIt(ring, VALUE, PLACE))).toBe(false);
  });
});

test("a record does not open as a value, nor a value as a record", ({ expect }) => {
  const ring = terms(1, { 1: Key.random() });
  expect(() => openValue(ring, sealRecord(ring, Buffer.alloc(200), PLACE), PLACE)).toThrow("does not begin as");
  expect(() => openRecord(ring, sealValue(ring, VALUE, PLACE), PLACE)).toThrow("does not begin as");
});

test("a key is wiped at the end of its scope", ({ expect }) => {
  let bytes: Buffer;
  {
    using key = Key.random();
    bytes = key.bytes;
    expect(bytes.equals(Buffer.alloc(32))).toBe(false);
  }
  expect(bytes.equals(Buffer.alloc(32))).toBe(true);
});

test("a key has 32 bytes", ({ expect }) => {
  expect(() => new Key(Buffer.alloc(31))).toThrow(RangeError);
});

test("a seal of one key does not open with another", ({ expect }) => {
  const [one, two] = [Key.random(), Key.random()];
  expect(() => open(two, seal(one, VALUE, PLACE), PLACE)).toThrow(expect.objectContaining({ code: "corrupt" }));
});
