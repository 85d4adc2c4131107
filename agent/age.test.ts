import * as fc from "fast-check";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, it } from "vitest";
import { AgeReader } from "#agent/age";
import { nodeSys } from "#agent/platform/node";
import { parseIdentity } from "#protocol/age-identity";
import { ProtocolError } from "#protocol/error";
import {
  AGE_VECTORS,
  ageCases,
  ageIndexText,
  ageKeyText,
  ageVectors,
  longAgeCases,
  type AgeCase,
} from "#test/kit/age-cases";
import { arbitraryCuts } from "#test/kit/arbitrary";

const sys = nodeSys([], { state: new Int32Array(2), wake: -1 });
const key = readFileSync(new URL("key.txt", AGE_VECTORS));
const byteByByte = (bytes: Buffer): Buffer[] => Array.from(bytes, (_, at) => bytes.subarray(at, at + 1));

interface Opened {
  error?: unknown;
  sha256: string;
}

function open(pieces: readonly Uint8Array[]): Opened {
  const sum = createHash("sha256");
  const reader = new AgeReader(
    sys,
    () => parseIdentity(key),
    (plain) => void sum.update(plain),
  );
  try {
    for (const piece of pieces) reader.push(piece);
    reader.end();
    return { sha256: sum.digest("hex") };
  } catch (error) {
    return { error, sha256: "" };
  } finally {
    reader.close();
  }
}

function verdict({ outcome, rule, sha256 }: AgeCase): object {
  return outcome === "ok" ? { sha256 } : { sha256: "", refusal: rule };
}

function seen({ error, sha256 }: Opened, { rule }: AgeCase): object {
  if (error === undefined) return { sha256 };
  if (!(error instanceof ProtocolError)) throw error;
  return { sha256, refusal: error.message.includes(rule) ? rule : error.message };
}

describe("an age file", () => {
  it("is one of those that the cases make", ({ expect }) => {
    const vectors = ageVectors();
    expect(readFileSync(new URL("index.json", AGE_VECTORS), "utf8")).toBe(ageIndexText(ageCases()));
    expect(key.toString()).toBe(ageKeyText());
    const stale = ageCases().filter(({ bytes }, at) => !vectors[at]?.bytes.equals(bytes));
    expect(stale, "run scripts/make-vectors.ts").toEqual([]);
  });

  for (const vector of [...ageVectors(), ...longAgeCases()]) {
    it(`has the right verdict: ${vector.file}`, ({ expect }) => {
      expect(seen(open([vector.bytes]), vector)).toEqual(verdict(vector));
      if (vector.bytes.length > 1_000) return;
      expect(seen(open(byteByByte(vector.bytes)), vector)).toEqual(verdict(vector));
    });
  }

  it("is the same however it is cut into pieces", ({ expect }) => {
    const vector = longAgeCases().find(({ file }) => file === "long-good-65537.age");
    if (!vector) throw new Error("there is no such case");
    fc.assert(
      fc.property(arbitraryCuts, (cut) => {
        expect(seen(open(cut(vector.bytes)), vector)).toEqual(verdict(vector));
      }),
      { numRuns: 5 },
    );
  });

  it("is refused with any bit of it changed, and cut anywhere", ({ expect }) => {
    const vector = ageVectors().find(({ file }) => file === "good-text.age");
    const whole = vector?.bytes ?? Buffer.alloc(0);
    for (let at = 0; at < whole.length; at++) {
      const edited = Buffer.from(whole);
      edited[at] = (edited[at] ?? 0) ^ (1 << (at % 8));
      expect(open([edited]).error, `edited at ${at}`).toBeInstanceOf(ProtocolError);
      expect(open([whole.subarray(0, at)]).error, `cut at ${at}`).toBeInstanceOf(ProtocolError);
    }
  });
});
