import * as fc from "fast-check";
import { readFileSync } from "node:fs";
import { describe, it } from "vitest";
import { arbitraryCuts, type BundleValue } from "#test/kit/arbitrary";
import { readBundle, writeBundle, type ReadBundle } from "#test/kit/bundle";
import { bundleCases, bundleVectors, indexText, VECTORS } from "#test/kit/vectors";
import { entryHeader } from "./bundle.ts";
import { ProtocolError } from "./error.ts";
import { entryPath, type Manifest } from "./manifest.ts";

const vectors = bundleVectors();
const good = vectors.filter(({ outcome }) => outcome === "ok");

describe("bundle vectors", () => {
  it("are what the cases make", ({ expect }) => {
    const cases = bundleCases();
    expect(readFileSync(new URL("index.json", VECTORS), "utf8")).toBe(indexText(cases));
    const stale = cases.filter(({ bytes }, at) => !vectors[at]?.bytes.equals(bytes)).map(({ file }) => file);
    expect(stale, "run scripts/make-vectors.ts").toEqual([]);
    expect(new Set(cases.map(({ file }) => file)).size).toBe(cases.length);
  });

  for (const { file, outcome, rule, about, files, bytes } of vectors) {
    it(`gives the right verdict on ${file}: ${about}`, ({ expect }) => {
      const whole = readBundle([bytes]);
      if (outcome === "ok") {
        expect(whole.error).toBeUndefined();
        expect(whole.values.map(({ path, content }) => [path, content.length])).toEqual(
          files?.map(({ path, size }) => [path, size]),
        );
        expect(writeBundle(whole.manifest as Manifest, whole.values).equals(bytes)).toBe(true);
      } else {
        expect(whole.error).toBeInstanceOf(ProtocolError);
        expect((whole.error as Error).message).toContain(rule);
        expect((whole.error as Error).message).toMatch(/^[ -~]+$/);
      }
      sameOutcome(expect, readBundle(byteByByte(bytes)), whole);
      fc.assert(
        fc.property(arbitraryCuts, (cut) => sameOutcome(expect, readBundle(cut(bytes)), whole)),
        { numRuns: 10 },
      );
    });
  }

  it("of accepted bundles have the headers that the index says", ({ expect }) => {
    for (const { file, files, bytes } of good) {
      const { manifest, values } = readBundle([bytes]);
      const headers = values.map(({ path, mtime }) => {
        const entry = manifest?.entries.find((one) => entryPath(one) === path);
        return entry && entryHeader(entry, mtime);
      });
      const wanted = files?.map(({ path, mode, uid, gid, owner, group, size }, at) => {
        const mtime = values[at]?.mtime;
        return { path, mode: Number.parseInt(mode, 8), uid, gid, uname: owner, gname: group, size, mtime };
      });
      expect(headers, file).toEqual(wanted);
    }
  });

  it("are refused when cut at any 512-byte edge, or anywhere", ({ expect }) => {
    for (const { file, bytes } of good) {
      for (let length = 0; length < bytes.length; length += 512) {
        for (const cut of [length, length + 1, length + 511]) {
          const { error } = readBundle([bytes.subarray(0, cut)]);
          expect(error, `${file} cut to ${cut}`).toBeInstanceOf(ProtocolError);
          expect((error as Error).message).toBe("bundle: it ends in the middle");
        }
      }
    }
  });

  it("are refused when a byte or a block follows", ({ expect }) => {
    for (const { file, bytes } of good) {
      for (const more of [1, 512, 10_240 - (bytes.length % 10_240)]) {
        const { error } = readBundle([Buffer.concat([bytes, Buffer.alloc(more)])]);
        expect(error, `${file} and ${more} bytes`).toBeInstanceOf(ProtocolError);
        expect((error as Error).message).toBe("bundle: bytes after its end");
      }
    }
  });
});

function* byteByByte(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at++) yield bytes.subarray(at, at + 1);
}

/** The same manifest, values and message: compared without the cost of a deep comparison where it is not needed. */
function sameOutcome(
  expect: (value: unknown) => { toBe(other: unknown): void },
  one: ReadBundle,
  other: ReadBundle,
): void {
  expect(String(one.error)).toBe(String(other.error));
  expect(JSON.stringify(one.manifest)).toBe(JSON.stringify(other.manifest));
  expect(one.values.length).toBe(other.values.length);
  for (const [at, value] of one.values.entries()) sameValue(expect, value, other.values[at] as BundleValue);
}

function sameValue(
  expect: (value: unknown) => { toBe(other: unknown): void },
  one: BundleValue,
  other: BundleValue,
): void {
  expect(one.path).toBe(other.path);
  expect(one.mtime).toBe(other.mtime);
  expect(one.content.equals(other.content)).toBe(true);
}
