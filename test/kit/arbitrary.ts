// fast-check arbitraries for what crosses the wall: any valid manifest, and any bundle that carries some of its values.
import * as fc from "fast-check";
import { entryPath, type FileTarget, type Manifest, type ManifestEntry, type OnChange } from "#protocol/manifest";
import { pathProblem } from "#protocol/names";

const characters = (set: string): fc.Arbitrary<string> => fc.constantFrom(...set.split(""));
const word = (first: string, rest: string, max: number): fc.Arbitrary<string> =>
  fc
    .tuple(characters(first), fc.array(characters(rest), { maxLength: max - 1 }))
    .map(([head, tail]) => head + tail.join(""));

const component = word("abXY09_", "abcXYZ019._-", 12);
const user = fc.oneof(fc.nat({ max: 2_097_151 }), word("a_", "abc09_-", 31));
const mode = fc.nat({ max: 0o777 }).map((bits) => bits.toString(8).padStart(4, "0"));
const printable = fc.string({ unit: "grapheme-ascii", maxLength: 20 });

const onChange: fc.Arbitrary<OnChange> = fc.oneof(
  component.map((name) => ({ reload: `${name}.service` })),
  component.map((name) => ({ restart: `${name}@x.socket` })),
  component.map((name) => ({ pidFile: `/run/${name}.pid`, signal: "HUP" })),
  fc.array(printable, { maxLength: 4 }).map((words) => ({ exec: ["/bin/true", ...words] })),
);

/** Every path starts with its entry's own index, so that no two collide; links likewise. */
const entry = (index: number): fc.Arbitrary<ManifestEntry> =>
  fc
    .record({
      suffix: component,
      version: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      size: fc.oneof(fc.constantFrom(0, 1, 511, 512, 513, 1024), fc.nat({ max: 2_000 })),
      folders: fc.array(component, { maxLength: 7 }),
      mode,
      user,
      group: user,
      link: fc.boolean(),
      kind: fc.constantFrom("file", "env", "both"),
      onChange: fc.option(onChange, { nil: undefined }),
    })
    .map(({ suffix, version, size, kind, ...rest }) => {
      const path = [`${index}${suffix}`, ...rest.folders].join("/").slice(0, 149).replace(/\/$/, "");
      const file: FileTarget = { path, mode: rest.mode, user: rest.user, group: rest.group };
      if (rest.link) file.link = `/etc/app/${index}/${suffix}`;
      const made: ManifestEntry = { name: `n${index}.${suffix}`, version, size };
      if (kind !== "env") made.file = file;
      if (kind !== "file") made.env = `V${index}_${suffix.replace(/[.-]/g, "")}`;
      if (rest.onChange) made.onChange = rest.onChange;
      return made;
    })
    .filter(({ file }) => !file || pathProblem(file.path) === undefined);

export const arbitraryManifest: fc.Arbitrary<Manifest> = fc
  .record({
    vm: word("abX09", "abc09._-", 63),
    revision: word("abX09", "abX09._-", 96),
    mountRoot: fc.constantFrom("/run/hatchway/secrets", "/run/secrets"),
    count: fc.nat({ max: 6 }),
  })
  .chain(({ count, vm, revision, mountRoot }) =>
    fc
      .tuple(...Array.from({ length: count }, (_, index) => entry(index)))
      .map((entries) => ({ format: 1 as const, vm, revision, mountRoot, entries })),
  );

/** One value of a bundle as it was written or read. */
export interface BundleValue {
  path: string;
  mtime: number;
  content: Buffer;
}

/** A manifest, and the values of some of its entries. */
export const arbitraryBundle: fc.Arbitrary<{ manifest: Manifest; values: BundleValue[] }> = arbitraryManifest.chain(
  (manifest) =>
    fc
      .tuple(
        ...manifest.entries.map((one) =>
          fc.record({
            there: fc.boolean(),
            mtime: fc.nat({ max: 0o77777777777 }),
            content: fc.uint8Array({ minLength: one.size, maxLength: one.size }),
          }),
        ),
      )
      .map((made) => ({
        manifest,
        values: manifest.entries.flatMap((one, index) => {
          const value = made[index];
          if (!value?.there) return [];
          return [{ path: entryPath(one), mtime: value.mtime, content: Buffer.from(value.content) }];
        }),
      })),
);

/** Bytes cut into chunks at random places. */
export const arbitraryCuts: fc.Arbitrary<(bytes: Uint8Array) => Uint8Array[]> = fc
  .array(fc.nat({ max: 10_000 }), { minLength: 1, maxLength: 20 })
  .map((lengths) => (bytes) => {
    const chunks: Uint8Array[] = [];
    for (let at = 0, index = 0; at < bytes.length; index++) {
      const length = Math.max(1, lengths[index % lengths.length] ?? 1);
      chunks.push(bytes.subarray(at, at + length));
      at += length;
    }
    return chunks;
  });
