import { createHash } from "node:crypto";
import { test } from "vitest";
import { encodeBundle, IMAGE_FORMATS } from "#bundle/image";
import { sealImage } from "#bundle/sealed";
import { parseSealHeader, SEAL_HEADER } from "#protocol/sealed";
import { caseBundle, imageOf } from "#test/kit/case-bundle";
import { goodCases } from "#test/kit/bundle-cases";

const [, one] = goodCases();

test("a sealed image says what it holds, how much and its digest, and leaves nothing open", async ({ expect }) => {
  if (!one) throw new Error("there are vectors");
  for (const format of IMAGE_FORMATS) {
    const bundle = caseBundle(one);
    const held: Uint8Array[] = [];
    const sealed = await sealImage(encodeBundle(bundle, format), format, async (plaintext) => {
      held.push(plaintext);
      return Buffer.from(plaintext).map((byte) => byte ^ 0xff);
    });
    const header = parseSealHeader(sealed);
    const age = sealed.subarray(SEAL_HEADER, SEAL_HEADER + header.length);
    expect(header.format).toBe(format);
    expect(Buffer.from(header.digest)).toEqual(createHash("sha256").update(age).digest());
    const opened = Buffer.from(age.map((byte) => byte ^ 0xff));
    expect(opened.equals(await imageOf(bundle, format))).toBe(true);
    expect(sealed.length % 512).toBe(0);
    expect(held.map((plaintext) => plaintext.every((byte) => byte === 0))).toEqual([true]);
  }
});
