import { describe, test } from "vitest";
import { ErofsImage } from "#bundle/erofs";
import { encodeBundle, IMAGE_FORMATS } from "#bundle/image";
import { IsoImage } from "#bundle/iso9660";
import { SquashfsImage } from "#bundle/squashfs";
import { imageTree, type ImageFile, type ImageTree } from "#bundle/tree";
import { goodCases } from "#test/kit/bundle-cases";
import { caseBundle } from "#test/kit/case-bundle";
import { guest, refusal, TestVault } from "#test/kit/vault";

function tree(...files: { path: string; size: number }[]): ImageTree {
  const owned = files.map((file) => ({ mode: 0o640, uid: 7, gid: 8, mtime: 1_700_000_000, ...file }));
  return imageTree(owned, Buffer.alloc(16, 5));
}

const fill = async (file: ImageFile): Promise<Uint8Array> => Buffer.alloc(file.size, file.name);
const kinds = { erofs: ErofsImage, squashfs: SquashfsImage, iso: IsoImage };

for (const [kind, Image] of Object.entries(kinds)) {
  describe(`an ${kind} image`, () => {
    test("has the size that was told, whatever the sizes of its files", async ({ expect }) => {
      for (const sizes of [[], [0], [1, 4031, 4032, 4033], [4095, 4096, 4097], [3_000_000, 5], Array(500).fill(64)]) {
        const image = new Image(tree(...sizes.map((size, at) => ({ path: `f${at}`, size }))));
        let written = 0;
        await image.writeTo(fill, async (bytes) => {
          written += bytes.length;
        });
        expect(written).toBe(image.size);
      }
    });

    test("leaves no content in any buffer, whether the sink takes it or fails", async ({ expect }) => {
      const image = new Image(tree({ path: "small", size: 100 }, { path: "large", size: 10_000 }));
      for (const failsAt of [undefined, 2, 3, 4]) {
        const held: Uint8Array[] = [];
        let calls = 0;
        const keep = async (file: ImageFile): Promise<Uint8Array> => {
          const content = await fill(file);
          held.push(content);
          return content;
        };
        const sink = async (bytes: Uint8Array): Promise<void> => {
          held.push(bytes);
          if (++calls === failsAt) throw new Error("the disk is full");
        };
        const writing = image.writeTo(keep, sink);
        if (failsAt === undefined) await writing;
        else await writing.catch(() => undefined);
        const left = held.some((bytes) => /(?:large|small){3}/.test(Buffer.from(bytes).toString("latin1")));
        expect({ failsAt, left }).toEqual({ failsAt, left: false });
      }
    });

    test("refuses to be more than 2 GiB", ({ expect }) => {
      const large = Array.from({ length: 2048 }, (_, at) => ({ path: `f${at}`, size: 1_048_576 }));
      expect(() => new Image(tree(...large))).toThrow("more than 2147483648 (2 GiB)");
    });
  });
}

test("a label that the format has no room for, or that could be misread, is refused", ({ expect }) => {
  expect(new ErofsImage(tree(), "L".repeat(15)).size).toBeGreaterThan(0);
  expect(() => new ErofsImage(tree(), "L".repeat(16))).toThrow("1 to 15 of");
  expect(() => new IsoImage(tree(), "L".repeat(33))).toThrow("1 to 32 of");
  expect(() => new ErofsImage(tree(), "a b")).toThrow('"a b" is not a label');
  const [empty] = goodCases();
  if (!empty) throw new Error("there are vectors");
  expect(() => encodeBundle(caseBundle(empty), "squashfs", "X")).toThrow(
    'squashfs has no label, so that it cannot be "X"',
  );
});

test("uids and gids that one image has no room for are refused", ({ expect }) => {
  const owned = Array.from({ length: 65_536 }, (_, uid) => ({
    path: `f${uid}`,
    size: 0,
    mode: 0,
    gid: 0,
    mtime: 0,
    uid,
  }));
  expect(() => new SquashfsImage(imageTree(owned, Buffer.alloc(16)))).toThrow("more uids and gids");
});

async function bytesOf(encoding: ReturnType<typeof encodeBundle>): Promise<Buffer> {
  const parts: Buffer[] = [];
  await encoding.writeTo(async (bytes) => void parts.push(Buffer.from(bytes)));
  return Buffer.concat(parts);
}

describe("a bundle", () => {
  for (const format of IMAGE_FORMATS) {
    test(`is the same bytes in ${format} while it is the same, and holds its values`, async ({ expect }) => {
      await using made = await TestVault.open();
      await made.set("db", "correct horse");
      const { id } = await made.vm("web", "db");
      const resolved = await made.vault.resolve(guest(id), id);
      const once = await bytesOf(encodeBundle(resolved, format));
      expect(once.equals(await bytesOf(encodeBundle(await made.vault.resolve(guest(id), id), format)))).toBe(true);
      expect(once.includes("correct horse")).toBe(true);
      await made.set("db", "staple");
      const changed = await bytesOf(encodeBundle(await made.vault.resolve(guest(id), id), format));
      expect([changed.includes("correct horse"), changed.includes("staple")]).toEqual([false, true]);
    });

    test(`gives nothing in ${format} that is not audited`, async ({ expect }) => {
      await using made = await TestVault.open();
      await made.set("a", "v");
      const { id } = await made.vm("web", "a");
      const encoding = encodeBundle(await made.vault.resolve(guest(id), id), format);
      await made.stop();
      let bytes = 0;
      const sink = async (part: Uint8Array): Promise<void> => {
        bytes += part.length;
      };
      expect([await refusal(encoding.writeTo(sink)), bytes]).toEqual(["sealed", 0]);
    });
  }
});
