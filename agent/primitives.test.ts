// The agent's cryptography against the vectors of Wycheproof, and against Node's own where there are none.
import { createCipheriv, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, it } from "vitest";
import { authenticate, derive, isEqual, openSealed, sharedSecret } from "#agent/primitives";

const hex = (text: string): Buffer => Buffer.from(text, "hex");

function wycheproof<Fields extends string>(
  file: string,
): (Record<Fields, string> & { tcId: number; result: string })[] {
  const path = new URL(`../test/vectors/wycheproof/${file}.json`, import.meta.url);
  return JSON.parse(readFileSync(path, "utf8")) as (Record<Fields, string> & { tcId: number; result: string })[];
}

describe("the agent's primitives", () => {
  it("of X25519 hold, and a shared secret of nothing is refused", ({ expect }) => {
    const vectors = wycheproof<"private" | "public" | "shared">("x25519");
    expect(vectors.length).toBeGreaterThan(100);
    for (const vector of vectors) {
      const shared = sharedSecret(hex(vector.private), hex(vector.public));
      const expected = /^0+$/.test(vector.shared) ? undefined : vector.shared;
      expect(shared && Buffer.from(shared).toString("hex"), `vector ${vector.tcId}`).toBe(expected);
    }
  });

  it("of HKDF-SHA256 and HMAC-SHA256 hold", ({ expect }) => {
    const keys = wycheproof<"ikm" | "salt" | "info" | "okm">("hkdf-sha256").filter(({ okm }) => okm.length === 64);
    expect(keys.length).toBeGreaterThan(5);
    for (const { ikm, salt, info, okm, tcId } of keys) {
      expect(Buffer.from(derive(hex(ikm), hex(salt), hex(info))).toString("hex"), `vector ${tcId}`).toBe(okm);
    }
    const macs = wycheproof<"key" | "msg" | "tag">("hmac-sha256").filter(({ tag }) => tag.length === 64);
    expect(macs.length).toBeGreaterThan(10);
    for (const { key, msg, tag, result, tcId } of macs) {
      const mac = authenticate(hex(key), hex(msg));
      expect(isEqual(mac, hex(tag)), `vector ${tcId}`).toBe(result === "valid");
    }
  });

  it("of ChaCha20-Poly1305 open what Node has sealed, and nothing else", ({ expect }) => {
    for (const size of [0, 1, 15, 16, 17, 63, 64, 65, 1_000]) {
      const [key, nonce, plain] = [randomBytes(32), randomBytes(12), randomBytes(size)];
      const cipher = createCipheriv("chacha20-poly1305", key, nonce, { authTagLength: 16 });
      const sealed = Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
      const opened = Buffer.alloc(size);
      expect(openSealed(key, nonce, sealed, opened)).toBe(true);
      expect(opened.equals(plain)).toBe(true);
      for (let at = 0; at < sealed.length; at += 7) {
        const edited = Buffer.from(sealed);
        edited[at] = (edited[at] ?? 0) ^ 1;
        const nothing = Buffer.alloc(size);
        expect(openSealed(key, nonce, edited, nothing)).toBe(false);
        expect(nothing.every((byte) => byte === 0)).toBe(true);
      }
    }
  });
});
