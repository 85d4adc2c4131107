import { describe, test } from "vitest";
import { BundleTar } from "#bundle/tar";
import type { Bundle } from "#bundle";
import { readBundle } from "#test/kit/bundle";
import { guest, refusal, TestVault } from "#test/kit/vault";

async function bundleOf(made: TestVault, ...names: string[]): Promise<Bundle> {
  const { id } = await made.vm("web", ...names);
  return made.vault.resolve(guest(id), id);
}

async function written(
  bundle: Bundle,
  entries: Bundle["manifest"]["entries"] = bundle.manifest.entries,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  const tar = new BundleTar(bundle, entries);
  await tar.writeTo(async (bytes) => {
    parts.push(Buffer.from(bytes));
  });
  const whole = Buffer.concat(parts);
  if (whole.length !== tar.size) throw new Error(`${whole.length} bytes, and ${tar.size} were told`);
  return whole;
}

describe("a bundle's tar", () => {
  test("is what the guest's reader accepts, with the values of the entries that go along", async ({ expect }) => {
    await using made = await TestVault.open();
    const sizes = [0, 1, 511, 512, 513, 70_000];
    for (const size of sizes)
      await made.set(`s${size}`, Buffer.alloc(size, 7), size === 1 ? { file: false, env: "ONE" } : {});
    const bundle = await bundleOf(made, ...sizes.map((size) => `s${size}`));
    const all = readBundle([await written(bundle)]);
    expect(all.error).toBeUndefined();
    expect(all.manifest).toEqual(bundle.manifest);
    const values = all.values.map(({ content }) => Buffer.from(content));
    expect(values.map(({ length }) => length).toSorted((a, b) => a - b)).toEqual(sizes);
    expect(values.every((content) => content.equals(Buffer.alloc(content.length, 7)))).toBe(true);
    const some = readBundle([await written(bundle, bundle.manifest.entries.slice(1, 3))]);
    expect([some.error, some.manifest?.entries.length, some.values.length]).toEqual([undefined, 6, 2]);
    const none = readBundle([await written(bundle, [])]);
    expect([none.error, none.values.length]).toEqual([undefined, 0]);
  });

  test("is the same bytes for the same grants", async ({ expect }) => {
    await using made = await TestVault.open();
    for (const name of ["a", "b"]) await made.set(name, name);
    const bundle = await bundleOf(made, "a", "b");
    expect((await written(bundle)).equals(await written(bundle))).toBe(true);
  });

  test("gives the sink nothing that is not audited", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("a", "v");
    const bundle = await bundleOf(made, "a");
    await made.stop();
    let bytes = 0;
    const tar = new BundleTar(bundle, bundle.manifest.entries);
    const sink = async (part: Uint8Array): Promise<void> => {
      bytes += part.length;
    };
    expect(await refusal(tar.writeTo(sink))).toBe("sealed");
    expect(bytes).toBe(0);
  });

  test("leaves nothing in a buffer, whether the sink takes it or fails", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("a", "the value");
    const bundle = await bundleOf(made, "a");
    for (const fails of [false, true]) {
      const held: Uint8Array[] = [];
      const writing = new BundleTar(bundle, bundle.manifest.entries).writeTo(async (bytes) => {
        if (!Buffer.from(bytes).includes("the value")) return;
        held.push(bytes);
        if (fails) throw new Error("the guest is gone");
      });
      if (fails) await expect(writing).rejects.toThrow("the guest is gone");
      else await writing;
      expect(held).toHaveLength(1);
      expect(held[0]?.every((byte) => byte === 0)).toBe(true);
    }
  });
});
