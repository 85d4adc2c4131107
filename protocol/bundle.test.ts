import * as fc from "fast-check";
import { describe, it } from "vitest";
import { arbitraryBundle, arbitraryCuts } from "#test/kit/arbitrary";
import { readBundle, writeBundle } from "#test/kit/bundle";
import { BundleReader, encodedSize, encodeManifestFile } from "./bundle.ts";
import { ProtocolError } from "./error.ts";
import { entryPath, type Manifest } from "./manifest.ts";

const nobody = { manifest: ignore, entry: ignore, data: ignore, endEntry: ignore };
const manifest: Manifest = {
  format: 1,
  vm: "web-1",
  revision: "e.1.2",
  mountRoot: "/run/hatchway/secrets",
  entries: [
    { name: "a", version: 1, size: 3, file: { path: "a", mode: "0600", user: 0, group: 0 } },
    { name: "B", version: 2, size: 0, env: "B" },
  ],
};
const values = [
  { path: "a", mtime: 7, content: Buffer.from("AAA") },
  { path: ".hatchway/values/B", mtime: 8, content: Buffer.alloc(0) },
];

/** One change of some bytes; `at` and `to` are taken modulo the length. */
type Mutation = { kind: "byte" | "cut" | "insert" | "move" | "checksum"; at: number; to: number; byte: number };
const mutation: fc.Arbitrary<Mutation> = fc.record({
  kind: fc.constantFrom("byte" as const, "cut" as const, "insert" as const, "move" as const, "checksum" as const),
  at: fc.nat({ max: 100_000 }),
  to: fc.nat({ max: 100_000 }),
  byte: fc.oneof(fc.nat({ max: 255 }), fc.constantFrom(0, 0x20, 0x2e, 0x2f, 0x30, 0x31, 0x37)),
});

describe("bundle", () => {
  it("reads back what it wrote, in chunks of any size", ({ expect }) => {
    fc.assert(
      fc.property(arbitraryBundle, arbitraryCuts, (bundle, cut) => {
        const bytes = writeBundle(bundle.manifest, bundle.values);
        expect(readBundle(cut(bytes))).toEqual({ ...bundle, error: undefined });
      }),
      { numRuns: 200 },
    );
  });

  it("has the length that was foretold", ({ expect }) => {
    fc.assert(
      fc.property(arbitraryBundle, (bundle) => {
        const carried = new Set(bundle.values.map(({ path }) => path));
        const entries = bundle.manifest.entries.filter((entry) => carried.has(entryPath(entry)));
        expect(writeBundle(bundle.manifest, bundle.values).length).toBe(
          encodedSize(encodeManifestFile(bundle.manifest), entries),
        );
      }),
    );
  });

  it("when mutated is refused, or is what the writer would write of what was read", ({ expect }) => {
    const mutations = fc.array(mutation, { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(arbitraryBundle, mutations, arbitraryCuts, (bundle, changes, cut) => {
        const bytes = changes.reduce(mutate, writeBundle(bundle.manifest, bundle.values));
        const read = readBundle(cut(bytes));
        if (read.error instanceof ProtocolError) return;
        expect(read.error).toBeUndefined();
        expect(writeBundle(read.manifest as Manifest, read.values).equals(bytes)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it("throws nothing but ProtocolError on random bytes", ({ expect }) => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 2_048 }), (bytes) => {
        expect(readBundle([bytes]).error).toBeInstanceOf(ProtocolError);
      }),
    );
  });

  it("hands a view of the pushed chunk on, and nothing of a value that is not there", ({ expect }) => {
    const bytes = writeBundle(manifest, values.slice(0, 1));
    const seen: string[] = [];
    const reader = new BundleReader({
      manifest: ({ entries }) => seen.push(`${entries.length} entries`),
      entry: ({ name }, { path, mtime }) => seen.push(`${name} at ${path} of ${mtime}`),
      data: (part) => seen.push(`${part.length} bytes, ${part.buffer === bytes.buffer ? "a view" : "a copy"}`),
      endEntry: () => seen.push("end"),
    });
    reader.push(bytes);
    reader.end();
    expect(seen).toEqual(["2 entries", "a at a of 7", "3 bytes, a view", "end"]);
  });

  it("is refused for good after one fault", ({ expect }) => {
    const bytes = writeBundle(manifest, values);
    const reader = new BundleReader(nobody);
    expect(() => reader.push(Buffer.alloc(512, 1))).toThrow(/not printable ascii/);
    expect(() => reader.push(bytes)).toThrow("bundle: reading went on after a fault");
    expect(() => reader.end()).toThrow(ProtocolError);
  });

  it("ends its reading when the sink throws", ({ expect }) => {
    const full = new Error("no space left");
    const reader = new BundleReader({
      ...nobody,
      data() {
        throw full;
      },
    });
    expect(() => reader.push(writeBundle(manifest, values))).toThrow(full);
    expect(() => reader.end()).toThrow(ProtocolError);
  });

  it("may be pushed in empty chunks, after its end too", ({ expect }) => {
    const reader = new BundleReader(nobody);
    for (const chunk of [Buffer.alloc(0), writeBundle(manifest, values), Buffer.alloc(0)]) reader.push(chunk);
    expect(() => reader.end()).not.toThrow();
  });

  it("holds a value of 1 MiB and a manifest of 4,096 entries", ({ expect }) => {
    const entries = Array.from({ length: 4_096 }, (_, at) => ({ name: `n${at}`, version: 1, size: 0, env: `V${at}` }));
    const most = { ...manifest, entries: [...entries.slice(1), { name: "n", version: 1, size: 1_048_576, env: "V" }] };
    const value = { path: ".hatchway/values/V", mtime: 0, content: Buffer.alloc(1_048_576, 0xa5) };
    const read = readBundle([writeBundle(most, [value])]);
    expect(read.error).toBeUndefined();
    expect(read.values[0]?.content.equals(value.content)).toBe(true);
  });
});

function ignore(): void {
  return undefined;
}

function mutate(bytes: Buffer, { kind, at, to, byte }: Mutation): Buffer {
  if (bytes.length < 1024) return bytes;
  const copy = Buffer.from(bytes);
  const from = at % copy.length;
  const block = from - (from % 512);
  if (kind === "cut") return Buffer.concat([copy.subarray(0, block), copy.subarray(block + 512)]);
  if (kind === "insert") return Buffer.concat([copy.subarray(0, block), Buffer.alloc(512, byte), copy.subarray(block)]);
  if (kind === "move") {
    const target = (to % copy.length) - ((to % copy.length) % 512);
    copy.copyWithin(target, block, Math.min(block + 512, copy.length));
    return copy;
  }
  copy[from] = byte;
  if (kind === "checksum") mendChecksum(copy.subarray(block, block + 512));
  return copy;
}

function mendChecksum(block: Buffer): void {
  block.fill(" ", 148, 156);
  const sum = block.reduce((total, one) => total + one, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}
