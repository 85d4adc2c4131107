import { createCipheriv, randomBytes } from "node:crypto";
import { describe, test } from "vitest";
import { openGcm, type Sealed } from "#host/openssl";

const KEY = randomBytes(32);

function sealed(plaintext: Buffer, associated: Buffer): Sealed {
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", KEY, nonce);
  cipher.setAAD(associated);
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return { nonce, ciphertext, tag: cipher.getAuthTag(), associated };
}

describe("openGcm", () => {
  test.for([
    [0, 0],
    [0, 20],
    [1, 0],
    [16, 20],
    [1_048_576, 80],
  ] as const)("opens %i bytes with %i associated bytes that node:crypto sealed", ([size, associated], { expect }) => {
    const plaintext = randomBytes(size);
    const out = Buffer.alloc(size, 1);
    expect(openGcm(KEY, sealed(plaintext, randomBytes(associated)), out)).toBe(true);
    expect(out.equals(plaintext)).toBe(true);
  });

  test.for(["nonce", "ciphertext", "tag", "associated"] as const)(
    "gives zeros where %s was changed",
    (part, { expect }) => {
      const whole = sealed(randomBytes(40), randomBytes(20));
      const changed = Buffer.from(whole[part]);
      changed[7] = (changed[7] ?? 0) ^ 1;
      const out = Buffer.alloc(40, 1);
      expect(openGcm(KEY, { ...whole, [part]: changed }, out)).toBe(false);
      expect(out.equals(Buffer.alloc(40))).toBe(true);
      // What failed leaves nothing behind that the next one would meet.
      expect(openGcm(KEY, whole, out)).toBe(true);
    },
  );

  test("gives zeros under another key", ({ expect }) => {
    const out = Buffer.alloc(40, 1);
    expect(openGcm(randomBytes(32), sealed(randomBytes(40), Buffer.alloc(0)), out)).toBe(false);
    expect(out.equals(Buffer.alloc(40))).toBe(true);
  });

  test.for([
    ["key", randomBytes(16), 12, 16, 8],
    ["nonce", KEY, 8, 16, 8],
    ["tag", KEY, 12, 4, 8],
    ["out", KEY, 12, 16, 7],
  ] as const)("refuses a %s of another length", ([, key, nonce, tag, out], { expect }) => {
    const parts = { nonce: Buffer.alloc(nonce), tag: Buffer.alloc(tag), ciphertext: Buffer.alloc(8) };
    expect(() => openGcm(key, { ...parts, associated: Buffer.alloc(0) }, Buffer.alloc(out))).toThrow(RangeError);
  });
});
