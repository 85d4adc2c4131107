import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { takeReadLease } from "#host/lease";

async function madeFile(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-lease-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "file"), "old\n");
  return join(folder, "file");
}

test("nobody gets a lease on a file that is open for writing", async ({ expect }) => {
  const path = await madeFile();
  await using reader = await open(path, "r");
  const writer = await open(path, "a");
  expect(takeReadLease(reader.fd)).toBe("written");
  await writer.close();
  expect(takeReadLease(reader.fd)).toBe("held");
});

test("a writer waits while the lease is held, and ends nobody", async ({ expect }) => {
  const path = await madeFile();
  const reader = await open(path, "r");
  for (let round = 0; round < 3; round++) expect(takeReadLease(reader.fd)).toBe("held");
  const writer = spawn("sh", ["-c", `echo started; echo new >"${path}"`], { stdio: ["ignore", "pipe", "inherit"] });
  await once(writer.stdout, "data");
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect((await reader.read()).buffer.toString("utf8", 0, 4)).toBe("old\n");
  expect(writer.exitCode).toBeNull();
  const end = once(writer, "exit");
  await reader.close();
  expect(await end).toEqual([0, null]);
});
