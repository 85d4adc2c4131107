import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { assert, integer, property } from "fast-check";
import { beforeAll, describe, test } from "vitest";
import { HatchwayError } from "#error";
import { generateCertificate } from "#keygen/certificate";
import { readElements } from "#keygen/der-reader";
import { pem } from "#keygen/pem";
import { pemBlocks, readRevocations } from "#keygen/revocations";
import { commonName, keyIdOf, newSerial, signRevocations } from "#keygen/x509";

const { certificate: authority, key } = generateCertificate("ca", 1);
const signer = createPrivateKey(key);
const nextUpdate = new Date("2051-02-03T04:05:06Z");

function list(serials: readonly Buffer[], by = signer): Buffer {
  const revoked = serials.map((serial) => ({ serial, at: new Date("2026-01-02T03:04:05Z") }));
  const thisUpdate = new Date("2026-01-02T03:04:05Z");
  const parts = { issuer: commonName("ca"), keyId: keyIdOf(by), number: 300, thisUpdate, nextUpdate, revoked };
  return signRevocations(parts, by);
}

const read = (der: Buffer) => readRevocations("crl.pem", pem("X509 CRL", der), authority);

describe("a revocation list", () => {
  let serials: Buffer[];
  let der: Buffer;
  beforeAll(() => {
    serials = [newSerial(), Buffer.from("80aa", "hex"), Buffer.from("0f", "hex")];
    der = list(serials);
  });

  test("names the serial numbers as Node shows them, and when it ends", ({ expect }) => {
    const { serials: found, nextUpdate: next } = read(der);
    expect([...found]).toEqual(serials.map((serial) => serial.toString("hex").toUpperCase()));
    expect(next).toBe(nextUpdate.getTime());
    expect(read(list([])).serials.size).toBe(0);
  });

  test("of another signer, or of two blocks, is refused", ({ expect }) => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    expect(() => read(list(serials, privateKey))).toThrow("none of its authorities has signed it");
    const twice = Buffer.concat([pem("X509 CRL", der), pem("X509 CRL", der)]);
    for (const text of [Buffer.alloc(0), authority, twice]) {
      expect(() => readRevocations("crl.pem", text, authority)).toThrow("it should be one X509 CRL in PEM");
    }
  });

  test("that was cut or changed anywhere is refused", ({ expect }) => {
    for (let length = 0; length < der.length; length++) {
      expect(() => read(der.subarray(0, length)), `${length}`).toThrow(HatchwayError);
    }
    assert(
      property(integer({ min: 0, max: der.length - 1 }), integer({ min: 1, max: 255 }), (at, change) => {
        const bad = Buffer.from(der);
        bad[at] = (bad[at] ?? 0) ^ change;
        try {
          read(bad);
        } catch (error) {
          return error instanceof HatchwayError;
        }
        return false;
      }),
    );
  });
});

test("DER has one encoding for each length", ({ expect }) => {
  for (const hex of ["30", "3001", "308100", "30810100", "3080", "3085000000000100", "1f0100", "30820001ff"]) {
    expect(() => readElements(Buffer.from(hex, "hex")), hex).toThrow(RangeError);
  }
  expect(readElements(Buffer.from("300002010105", "hex").subarray(0, 5)).map(({ tag }) => tag)).toEqual([0x30, 0x02]);
});

test("PEM blocks are found among other text", ({ expect }) => {
  const text = Buffer.concat([Buffer.from("of ours:\n"), pem("A", Buffer.from("1")), pem("B", Buffer.from("2"))]);
  expect(pemBlocks(text, "B")).toEqual([Buffer.from("2")]);
});
