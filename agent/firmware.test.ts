import { describe, it } from "vitest";
import { decodeBase64 } from "#agent/base64";
import { stringsOf } from "#agent/firmware-word";
import { ProtocolError } from "#protocol/error";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");

const table = (text: string): string[] => stringsOf(bytes(text)).map((one) => Buffer.from(one).toString("latin1"));

describe("base64", () => {
  it("is read back as it was written, at every length", ({ expect }) => {
    for (let size = 0; size < 300; size++) {
      const value = Buffer.from(Array.from({ length: size }, (_, at) => (at * 37 + size) % 256));
      expect(Buffer.from(decodeBase64(bytes(value.toString("base64")))).equals(value)).toBe(true);
    }
  });

  it("is refused in every other form", ({ expect }) => {
    const bad = [
      "A",
      "AA",
      "AAA",
      "=",
      "A===",
      "====",
      "AB==",
      "AAB=",
      "AA=A",
      "AA A",
      "AA\nA",
      "AA-A",
      "AA==AAAA",
      "é===",
    ];
    for (const text of bad) expect(() => decodeBase64(bytes(text)), text).toThrow(ProtocolError);
  });
});

describe("a table's strings", () => {
  it("are those behind its formatted part, up to the empty one", ({ expect }) => {
    expect(table("\u000b\u0005\0\0\u0002one\0two\0\0")).toEqual(["one", "two"]);
    expect(table("\u000b\u0005\0\0\0\0\0")).toEqual([]);
    expect(table("\u000b\u0005\0\0\u0001one\0\0left over\0")).toEqual(["one"]);
    expect(table("")).toEqual([]);
    expect(table("\u000b\u00ff")).toEqual([]);
    expect(() => table("\u000b\u0005\0\0\u0001one")).toThrow(ProtocolError);
  });
});
