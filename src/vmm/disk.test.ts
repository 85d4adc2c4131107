import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, test } from "vitest";
import { diskFormat } from "./disk.ts";

const folder = mkdtempSync(join(tmpdir(), "disk."));
const path = join(folder, "disk.img");
afterAll(() => rmSync(folder, { recursive: true }));

/** The start of a qcow2 image, docs/interop/qcow2.txt. */
function qcow2(change: { backing?: bigint; features?: bigint; version?: number }): Buffer {
  const header = Buffer.alloc(512);
  header.write("QFI\xfb", "latin1");
  header.writeUInt32BE(change.version ?? 3, 4);
  header.writeBigUInt64BE(change.backing ?? 0n, 8);
  header.writeBigUInt64BE(change.features ?? 0n, 72);
  return header;
}

async function formatOf(bytes: Buffer | string): Promise<string> {
  writeFileSync(path, bytes);
  return diskFormat(path);
}

test("tells qcow2 from all else", async ({ expect }) => {
  expect(await formatOf(qcow2({}))).toBe("qcow2");
  expect(await formatOf(qcow2({ version: 2 }))).toBe("qcow2");
  expect(await formatOf("")).toBe("raw");
  expect(await formatOf("QFI")).toBe("raw");
  expect(await formatOf(Buffer.alloc(4096))).toBe("raw");
});

test("refuses an image that would read another file of the host", async ({ expect }) => {
  await expect(formatOf(qcow2({ backing: 104n }))).rejects.toThrow("with a backing file");
  await expect(formatOf(qcow2({ features: 4n }))).rejects.toThrow("in another file");
  await expect(diskFormat(join(folder, "none"))).rejects.toMatchObject({ code: "not-found" });
});
