import { describe, it } from "vitest";
import { parseSuperblock, SUPERBLOCK_BYTES, type Superblock } from "#agent/superblock";
import type { Bundle } from "#bundle";
import type { ImageFormat } from "#bundle/image";
import { caseBundle, imageOf, isWhole } from "#test/kit/case-bundle";
import { goodCases } from "#test/kit/bundle-cases";

async function seen(bundle: Bundle, format: ImageFormat): Promise<Superblock | undefined> {
  return parseSuperblock((await imageOf(bundle, format)).subarray(0, SUPERBLOCK_BYTES));
}

describe("a disk's first bytes", () => {
  it("say its file system and label", async ({ expect }) => {
    const bundle = goodCases().filter(isWhole).map(caseBundle)[0];
    if (!bundle) throw new Error("there is no such vector");
    expect(await seen(bundle, "erofs")).toEqual({ type: "erofs", label: "HATCHWAY" });
    expect(await seen(bundle, "iso")).toEqual({ type: "iso9660", label: "HATCHWAY" });
    expect(await seen(bundle, "squashfs")).toEqual({ type: "squashfs", label: "" });
    expect(await seen(bundle, "tar")).toBeUndefined();
  });
});
