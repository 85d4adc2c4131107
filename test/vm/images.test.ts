// Images in a real guest: its kernel mounts them, and finds every file with the bytes, mode, owner and time of the bundle.
import { createHash } from "node:crypto";
import { chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import type { Bundle } from "#bundle";
import { entryHeader } from "#protocol/bundle";
import { encodeManifest, type ManifestEntry } from "#protocol/manifest";
import { imageOf } from "#test/kit/case-bundle";
import { GuestMachine, machineFolder, nobody } from "#test/kit/guest";

const SIZES = [0, 1, 63, 511, 513, 2047, 2048, 2049, 4031, 4032, 4033, 4095, 4096, 4097, 131_071, 131_073, 1_048_576];

function file(path: string, mode: string, user: number, group: number): Pick<ManifestEntry, "file"> {
  return { file: { path, mode, user, group } };
}

/** Edges of every format's blocks, deep and long paths, a variable, and a folder that needs many blocks. */
function richBundle(): Bundle {
  const places: [size: number, place: Pick<ManifestEntry, "file" | "env">][] = [
    ...SIZES.map((size): [number, Pick<ManifestEntry, "file">] => [size, file(`sizes/s${size}`, "0600", 0, 0)]),
    [10, file("a/b/c/d/e/f/g/h", "0400", 2_097_151, 2_097_151)],
    [11, file(`${"d".repeat(49)}/${"x".repeat(100)}`, "0777", 1, 65_534)],
    [12, { env: "API_KEY" }],
    [13, file("-", "0440", 0, 101)],
    ...Array.from({ length: 1_500 }, (_, at): [number, Pick<ManifestEntry, "file">] => [
      at % 97,
      file(`many/${"n".repeat(at % 60)}${at}`, at % 2 === 0 ? "0600" : "0644", at % 300, at % 7),
    ]),
  ];
  const entries = places.map(([size, place], at): ManifestEntry => ({ name: `s${at}`, version: 1, size, ...place }));
  return {
    manifest: { format: 1, vm: "web-1", revision: "e1.1.7", mountRoot: "/run/hatchway/secrets", entries },
    counter: 1,
    times: entries.map((_, at) => 1_700_000_000 + at),
    changedSince: () => entries,
    disclose: async () => async (entry) => content(entry),
  };
}

function content({ name, size }: ManifestEntry): Buffer {
  return Buffer.alloc(size, createHash("sha256").update(name).digest());
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** `path mode uid gid mtime` and the content's digest, as the guest is asked for them. */
function wanted({ manifest, times }: Bundle): string[] {
  const json = encodeManifest(manifest);
  return [
    `./.hatchway/manifest.json 600 0 0 0 ${digest(json)}`,
    ...manifest.entries.map((entry, at) => {
      const { path, mode, uid, gid, mtime } = entryHeader(entry, times[at] ?? 0);
      return `./${path} ${mode.toString(8)} ${uid} ${gid} ${mtime} ${digest(content(entry))}`;
    }),
  ].toSorted();
}

const MIB = 1_048_576;

/** The images as the primary partitions of one disk, by a table at its start (the "MBR"), each from a MiB on. */
function partitioned(images: readonly Buffer[]): Buffer {
  const table = Buffer.alloc(MIB);
  let at = MIB;
  const parts = images.map((image, index) => {
    const size = Math.ceil(image.length / MIB) * MIB;
    const entry = 446 + 16 * index;
    table.writeUInt8(0x83, entry + 4);
    table.writeUInt32LE(at / 512, entry + 8);
    table.writeUInt32LE(size / 512, entry + 12);
    at += size;
    return Buffer.concat([image, Buffer.alloc(size - image.length)]);
  });
  table.writeUInt16BE(0x55aa, 510);
  return Buffer.concat([table, ...parts]);
}

const formats = [
  { format: "erofs", type: "erofs", modules: "libcrc32c erofs", device: "/dev/vda1" },
  { format: "squashfs", type: "squashfs", modules: "squashfs", device: "/dev/vda2" },
  { format: "iso", type: "iso9660", modules: "cdrom isofs", device: "/dev/vda3" },
] as const;

describe("a guest's kernel", () => {
  const bundle = richBundle();
  let guest: GuestMachine;

  beforeAll(async () => {
    const directory = machineFolder(nobody);
    const path = join(directory, "disk.img");
    const images = await Promise.all(formats.map(({ format }) => imageOf(bundle, format)));
    writeFileSync(path, partitioned(images), { mode: 0o600 });
    chownSync(path, nobody.uid, nobody.gid);
    guest = await GuestMachine.launch({ directory, disk: { path, format: "raw" } });
  });
  afterAll(() => guest[Symbol.asyncDispose]());

  it.each(formats)("reads all of a bundle from $format", async ({ type, modules, device }) => {
    const script = [
      `for one in ${modules}; do insmod /lib/modules/$one.ko; done`,
      `mkdir -p /tmp/m && mount -t ${type} -o ro,nodev,nosuid,noexec ${device} /tmp/m && cd /tmp/m`,
      "find . -type f -exec stat -c '%n %a %u %g %Y' {} + > /tmp/a",
      "find . -type f -exec sha256sum {} + | awk '{print $2, $1}' > /tmp/b",
      "awk 'NR==FNR{d[$1]=$2;next}{print $0, d[$1]}' /tmp/b /tmp/a",
      "cd / && umount /tmp/m",
    ].join("\n");
    const seen = (await guest.output(script)).trimEnd().split("\n").toSorted();
    const differing = wanted(bundle).filter((line) => !seen.includes(line));
    if (seen.length === wanted(bundle).length && differing.length === 0) return;
    throw new Error(`${seen.length} files; missing or different: ${differing.slice(0, 5).join("; ")}`);
  });

  it.each(formats)("lets nobody but root list folders or read secrets in $format", async ({ type, device }) => {
    const script = [
      `mount -t ${type} -o ro ${device} /tmp/m && cd /`,
      "for try in 'ls /tmp/m' 'ls /tmp/m/.hatchway' 'cat /tmp/m/sizes/s1' 'cat /tmp/m/.hatchway/values/API_KEY'; do",
      '  su app -c "$try" >/tmp/out 2>&1 && echo got: $try; done',
      "umount /tmp/m",
    ].join("\n");
    const out = await guest.output(script);
    if (out !== "") throw new Error(out);
  });
});
