// The primitives as this vault calls them, against published vectors, against a second implementation (noble's, which
// age-encryption is made with), and with each of the forgeries that are known to get past a careless caller.
import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { gcm } from "@noble/ciphers/aes.js";
import { x25519 } from "@noble/curves/ed25519.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { describe, test } from "vitest";
import { ageOpen, ageSeal } from "#vault/age";
import { Key, open, seal } from "#vault/envelope";
import { derive } from "#vault/keyring-file";

const hex = (text: string): Buffer => Buffer.from(text, "hex");
const corrupt = { code: "corrupt" };

type Vector<Fields extends string> = Record<Fields, string> & {
  tcId: number;
  result: "valid" | "invalid" | "acceptable";
};

function wycheproof<Fields extends string>(file: string): Vector<Fields>[] {
  const path = new URL(`../../test/vectors/wycheproof/${file}.json`, import.meta.url);
  return JSON.parse(readFileSync(path, "utf8")) as Vector<Fields>[];
}

/** What `act` gives, or undefined where it refuses. */
function attempt(act: () => string): string | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

/** AES-256 with a 96-bit nonce: test cases 13 to 16 of McGrew and Viega, "The Galois/Counter Mode of Operation". */
const GCM = [
  {
    key: "00".repeat(32),
    nonce: "00".repeat(12),
    plain: "",
    aad: "",
    sealed: "",
    tag: "530f8afbc74536b9a963b4f1c4cb738b",
  },
  {
    key: "00".repeat(32),
    nonce: "00".repeat(12),
    plain: "00".repeat(16),
    aad: "",
    sealed: "cea7403d4d606b6e074ec5d3baf39d18",
    tag: "d0d1c8a799996bf0265b98b5d48ab919",
  },
  {
    key: "feffe9928665731c6d6a8f9467308308".repeat(2),
    nonce: "cafebabefacedbaddecaf888",
    plain:
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
    aad: "",
    sealed:
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
    tag: "b094dac5d93471bdec1a502270e3cc6c",
  },
  {
    key: "feffe9928665731c6d6a8f9467308308".repeat(2),
    nonce: "cafebabefacedbaddecaf888",
    plain:
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
    sealed:
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
    tag: "76fc6ece0f4e1768cddf8853bb2d551b",
  },
];

const opened = (one: (typeof GCM)[number], sealed: string = one.sealed, tag: string = one.tag): Buffer =>
  open(new Key(hex(one.key)), hex(one.nonce + sealed + tag), hex(one.aad));

describe("AES-256-GCM", () => {
  test("opens the published vectors", ({ expect }) => {
    for (const one of GCM) expect(opened(one).toString("hex")).toBe(one.plain);
  });

  test("refuses each vector with any other tag: a bit of it, part of it, a usual constant", ({ expect }) => {
    for (const one of GCM) {
      const tag = hex(one.tag);
      const flipped = Array.from({ length: 128 }, (_, bit) => {
        const other = Buffer.from(tag);
        other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        return other;
      });
      const constants = [0x00, 0xff, 0x80, 0x01].map((byte) => Buffer.alloc(16, byte));
      const inverted = Buffer.from(tag.map((byte) => ~byte));
      const halves = [
        Buffer.concat([tag.subarray(0, 8), Buffer.alloc(8)]),
        Buffer.concat([Buffer.alloc(8), tag.subarray(8)]),
      ];
      const cut = [0, 4, 8, 12, 13, 14, 15].map((size) => tag.subarray(0, size));
      for (const other of [...flipped, ...constants, inverted, ...halves, ...cut, Buffer.concat([tag, tag])]) {
        expect(() => opened(one, one.sealed, other.toString("hex"))).toThrow(expect.objectContaining(corrupt));
      }
    }
  });

  test("seals and opens what a second implementation opens and seals, at each size around a block", ({ expect }) => {
    for (let size = 0; size <= 65; size++) {
      const key = Key.random();
      const [plain, aad, nonce] = [randomBytes(size), randomBytes((size * 7) % 50), randomBytes(12)];
      const sealed = seal(key, plain, aad);
      expect(gcm(key.bytes, sealed.subarray(0, 12), aad).decrypt(sealed.subarray(12))).toEqual(new Uint8Array(plain));
      const theirs = Buffer.concat([nonce, gcm(key.bytes, nonce, aad).encrypt(plain)]);
      expect(open(key, theirs, aad).equals(plain)).toBe(true);
    }
  });
});

const mac = (key: Buffer, text: Buffer): string => createHmac("sha256", key).update(text).digest("hex");
const okm = (salt: string, info: string): string =>
  Buffer.from(hkdfSync("sha256", Buffer.alloc(22, 0x0b), hex(salt), hex(info), 42)).toString("hex");

describe("HMAC-SHA256 and HKDF-SHA256", () => {
  test("give the published vectors", ({ expect }) => {
    // RFC 4231, test cases 1, 2 and 6; RFC 5869, test cases 1 and 3.
    expect(mac(Buffer.alloc(20, 0x0b), Buffer.from("Hi There"))).toBe(
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    );
    expect(mac(Buffer.from("Jefe"), Buffer.from("what do ya want for nothing?"))).toBe(
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    );
    const long = Buffer.from("Test Using Larger Than Block-Size Key - Hash Key First");
    expect(mac(Buffer.alloc(131, 0xaa), long)).toBe("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    expect(okm("000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9")).toBe(
      "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    );
    expect(okm("", "")).toBe("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
  });

  test("are those of a second implementation, as keys and names are made with them", ({ expect }) => {
    for (let size = 0; size < 200; size += 7) {
      const [key, salt, text] = [Key.random(), randomBytes(16), randomBytes(size)];
      const ours = createHmac("sha256", key.bytes).update(text).digest();
      expect(ours.equals(hmac(sha256, key.bytes, text))).toBe(true);
      const purpose = `purpose ${size}`;
      const theirs = hkdf(sha256, key.bytes, salt, Buffer.from(`hatchway 1 ${purpose}`), 32);
      expect(derive(key, salt, purpose).bytes.equals(theirs)).toBe(true);
    }
  });
});

/** Points whose shared secret is nothing, whatever the key (RFC 7748, section 7), and the same beyond the field's prime. */
const LOW_ORDER = [
  "00".repeat(32),
  `01${"00".repeat(31)}`,
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  `ec${"ff".repeat(30)}7f`,
  `ed${"ff".repeat(30)}7f`,
  `ee${"ff".repeat(30)}7f`,
];

const shared = (scalar: string, point: string): string =>
  Buffer.from(x25519.scalarMult(hex(scalar), hex(point))).toString("hex");

describe("X25519, as age uses it", () => {
  test("gives the published vectors", ({ expect }) => {
    // RFC 7748, section 5.2.
    expect(
      shared(
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
      ),
    ).toBe("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
  });

  test("refuses every point of low order, alone and in an age file", async ({ expect }) => {
    const identity = await generateIdentity();
    const file = Buffer.from(`${identity}\n`);
    const sealed = await ageSeal(await identityToRecipient(identity), Buffer.from("a value"));
    expect((await ageOpen("identity", file, sealed)).toString()).toBe("a value");
    for (const point of LOW_ORDER) {
      expect(() => x25519.getSharedSecret(x25519.utils.randomSecretKey(), hex(point))).toThrow();
      const share = hex(point).toString("base64").replace(/=+$/, "");
      const forged = Buffer.from(sealed.toString("latin1").replace(/(?<=-> X25519 )\S+/, share), "latin1");
      expect(forged.equals(sealed)).toBe(false);
      await expect(ageOpen("identity", file, forged)).rejects.toMatchObject({ name: "HatchwayError" });
    }
  });
});

describe("Wycheproof's vectors", () => {
  test("of AES-GCM open as an envelope does, or are refused", ({ expect }) => {
    for (const one of wycheproof<"key" | "iv" | "aad" | "msg" | "ct" | "tag">("aes-gcm")) {
      const got = attempt(() =>
        open(new Key(hex(one.key)), hex(one.iv + one.ct + one.tag), hex(one.aad)).toString("hex"),
      );
      expect(got, `${one.tcId}`).toBe(one.result === "valid" ? one.msg : undefined);
    }
  });

  test("of HKDF-SHA256 and HMAC-SHA256 hold", ({ expect }) => {
    for (const { tcId, result, ikm, salt, info, size, okm: expected } of wycheproof<
      "ikm" | "salt" | "info" | "size" | "okm"
    >("hkdf-sha256")) {
      const got = attempt(() =>
        Buffer.from(hkdfSync("sha256", hex(ikm), hex(salt), hex(info), Number(size))).toString("hex"),
      );
      expect(got, `${tcId}`).toBe(result === "valid" ? expected : undefined);
    }
    for (const { tcId, result, key, msg, tag } of wycheproof<"key" | "msg" | "tag">("hmac-sha256")) {
      const made = createHmac("sha256", hex(key)).update(hex(msg)).digest();
      expect(timingSafeEqual(made, hex(tag)), `${tcId}`).toBe(result === "valid");
    }
  });

  test("of X25519 hold, and a shared secret of nothing is refused", ({ expect }) => {
    for (const one of wycheproof<"public" | "private" | "shared">("x25519")) {
      const got = attempt(() => Buffer.from(x25519.getSharedSecret(hex(one.private), hex(one.public))).toString("hex"));
      expect(got, `${one.tcId}`).toBe(one.shared === "00".repeat(32) ? undefined : one.shared);
    }
  });
});
