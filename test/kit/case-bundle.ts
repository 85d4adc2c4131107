import type { Bundle } from "#bundle";
import { encodeBundle, type ImageFormat } from "#bundle/image";
import { entryPath } from "#protocol/manifest";
import { readBundle } from "#test/kit/bundle";
import type { BundleCase } from "#test/kit/bundle-cases";

/** What a vault would have resolved, had it the bundle of a good vector that holds all of its values. */
export function caseBundle({ file, bytes }: BundleCase): Bundle {
  const { manifest, values } = readBundle([bytes]);
  if (!manifest) throw new Error(`${file} has no manifest`);
  const byPath = new Map(values.map((value) => [value.path, value]));
  return {
    manifest,
    counter: 1,
    times: manifest.entries.map((entry) => byPath.get(entryPath(entry))?.mtime ?? 0),
    changedSince: () => manifest.entries,
    disclose: async () => async (entry) => Buffer.from(byPath.get(entryPath(entry))?.content ?? Buffer.alloc(0)),
  };
}

/** Whether the vector holds all values of its manifest, as an image does. */
export function isWhole({ bytes, outcome }: BundleCase): boolean {
  if (outcome !== "ok") return false;
  const { manifest, values } = readBundle([bytes]);
  return manifest?.entries.length === values.length;
}

/** The whole image in memory. */
export async function imageOf(bundle: Bundle, format: ImageFormat): Promise<Buffer> {
  const encoding = encodeBundle(bundle, format);
  const image = Buffer.alloc(encoding.size);
  let at = 0;
  await encoding.writeTo(async (bytes) => {
    image.set(bytes, at);
    at += bytes.length;
  });
  return image;
}

/** Of secrets that are files of root's, at their names. */
export function bundleOf(values: Readonly<Record<string, Buffer>>): Bundle {
  const entries = Object.entries(values).map(([name, value]) => {
    return { name, version: 1, size: value.length, file: { path: name, mode: "0400", user: 0, group: 0 } };
  });
  return {
    manifest: { format: 1, vm: "v", revision: "e.1.1", mountRoot: "/run/hatchway/secrets", entries },
    counter: 1,
    times: entries.map(() => 0),
    changedSince: () => entries,
    disclose:
      async () =>
      async ({ name }) =>
        Buffer.from(values[name] ?? ""),
  };
}
