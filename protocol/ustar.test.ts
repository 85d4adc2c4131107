import * as fc from "fast-check";
import { describe, it } from "vitest";
import { ProtocolError } from "./error.ts";
import { BLOCK, decodeHeader, encodeHeader, padding, type TarHeader } from "./ustar.ts";

const word = (max: number): fc.Arbitrary<string> =>
  fc
    .array(fc.constantFrom(..."abcXYZ019._-".split("")), { minLength: 1, maxLength: max })
    .map((characters) => characters.join(""));
const user = fc.oneof(fc.constant(""), word(31));
const id = fc.nat({ max: 0o7777777 });
const header: fc.Arbitrary<TarHeader> = fc.record({
  path: fc.oneof(
    word(100),
    fc.tuple(word(155), word(100)).map((parts) => parts.join("/")),
  ),
  mode: fc.nat({ max: 0o7777777 }),
  uid: id,
  gid: id,
  uname: user,
  gname: user,
  size: fc.nat({ max: 0o77777777777 }),
  mtime: fc.nat({ max: 0o77777777777 }),
});
const plain: TarHeader = { path: "a", mode: 0o600, uid: 0, gid: 0, uname: "", gname: "", size: 0, mtime: 0 };

describe("ustar", () => {
  it("reads back any header that it writes", ({ expect }) => {
    fc.assert(
      fc.property(header, (value) => {
        expect(decodeHeader(encodeHeader(value))).toEqual(value);
      }),
      { numRuns: 300 },
    );
  });

  it("refuses every header that differs from the canonical one, with a mended checksum too", ({ expect }) => {
    const edit = fc.tuple(fc.nat({ max: BLOCK - 1 }), fc.nat({ max: 255 }));
    fc.assert(
      fc.property(header, fc.array(edit, { minLength: 1, maxLength: 3 }), fc.boolean(), (value, edits, mended) => {
        const block = encodeHeader(value);
        for (const [at, byte] of edits) block[at] = byte;
        if (mended) mendChecksum(block);
        try {
          expect(encodeHeader(decodeHeader(block))).toEqual(block);
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });

  it("calls a checksum wrong only when it is", ({ expect }) => {
    const block = encodeHeader(plain);
    block[157] = 0x61;
    expect(() => decodeHeader(block)).toThrow("tar: wrong checksum");
    mendChecksum(block);
    expect(() => decodeHeader(block)).toThrow("tar: header byte 157 is not canonical");
  });

  it("writes only text that it would read", ({ expect }) => {
    for (const text of ["a\u0000b", "a\nb", "a\u001bb", "a\u007fb", "é"]) {
      expect(() => encodeHeader({ ...plain, path: text }), text).toThrow(ProtocolError);
      expect(() => encodeHeader({ ...plain, uname: text }), text).toThrow(ProtocolError);
    }
  });

  it("writes only numbers that fit", ({ expect }) => {
    for (const number of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 0o10000000]) {
      expect(() => encodeHeader({ ...plain, uid: number }), `${number}`).toThrow(/octal digits/);
    }
    expect(() => encodeHeader({ ...plain, size: 0o100000000000 })).toThrow(/11 octal digits/);
  });

  it("says when a path does not split into prefix and name", ({ expect }) => {
    for (const path of ["a".repeat(101), `${"a".repeat(156)}/b`, `a/${"b".repeat(101)}`, `${"a".repeat(120)}/`]) {
      expect(() => encodeHeader({ ...plain, path })).toThrow(/does not split|not fit/);
    }
  });

  it("pads to whole blocks", ({ expect }) => {
    expect([0, 1, 511, 512, 513, 1024].map(padding)).toEqual([0, 511, 1, 0, 511, 0]);
  });
});

function mendChecksum(block: Uint8Array): void {
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.set(Buffer.from(`${sum.toString(8).padStart(6, "0")}\0 `, "latin1"), 148);
}
