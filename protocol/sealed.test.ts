import { describe, test } from "vitest";
import { ProtocolError } from "#protocol/error";
import { encodeSealHeader, parseSealHeader, SEALED_FORMATS } from "#protocol/sealed";

const digest = Uint8Array.from({ length: 32 }, (_, at) => at);

describe("a sealed image's header", () => {
  test("is read back as it was written", ({ expect }) => {
    for (const format of SEALED_FORMATS) {
      for (const length of [1, 256, 70_000, 2_147_483_648]) {
        expect(parseSealHeader(encodeSealHeader({ format, length, digest }))).toEqual({ format, length, digest });
      }
    }
  });

  test("is refused with any byte of its first 24 changed, and when cut anywhere", ({ expect }) => {
    const header = encodeSealHeader({ format: "tar", length: 70_000, digest });
    for (let at = 0; at < 24; at++) {
      const changed = header.slice();
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(() => parseSealHeader(changed), `byte ${at}`).toThrow(ProtocolError);
    }
    for (let length = 0; length < header.length; length++) {
      expect(() => parseSealHeader(header.subarray(0, length)), `${length} bytes`).toThrow(ProtocolError);
    }
  });

  test("is refused with a length that no image has", ({ expect }) => {
    expect(() => encodeSealHeader({ format: "tar", length: 0, digest })).toThrow("1 byte to 2 GiB");
    expect(() => encodeSealHeader({ format: "tar", length: 2_147_483_649, digest })).toThrow("1 byte to 2 GiB");
    const header = encodeSealHeader({ format: "tar", length: 1, digest });
    for (const bytes of [[0, 0, 0, 0, 0, 0, 0, 0], Array<number>(8).fill(255)]) {
      expect(() => parseSealHeader(Uint8Array.from([...header.subarray(0, 24), ...bytes, ...digest]))).toThrow(
        "its length is not",
      );
    }
  });
});
