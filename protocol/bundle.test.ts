import { describe, it } from "vitest";
import { BundleReader, encodeEnd, encodeManifestFile, entryHeader } from "./bundle.ts";
import type { Manifest } from "./manifest.ts";
import { encodeHeader, padding } from "./ustar.ts";

describe("bundle", () => {
  it("reads back what it wrote, byte by byte", ({ expect }) => {
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
    const parts = [encodeManifestFile(manifest)];
    for (const entry of manifest.entries) {
      parts.push(
        encodeHeader(entryHeader(entry, 7)),
        new Uint8Array(entry.size).fill(65),
        new Uint8Array(padding(entry.size)),
      );
    }
    parts.push(encodeEnd());
    const seen: string[] = [];
    const reader = new BundleReader({
      manifest: (m) => seen.push(JSON.stringify(m)),
      entry: (e, h) => seen.push(`${e.name} ${h.path}`),
      data: (b) => seen.push(new TextDecoder().decode(b)),
      endEntry: () => seen.push("."),
    });
    for (const byte of Buffer.concat(parts)) reader.push(Uint8Array.of(byte));
    reader.end();
    expect(seen).toEqual([JSON.stringify(manifest), "a a", "A", "A", "A", ".", "B .hatchway/values/B", "."]);
  });
});
