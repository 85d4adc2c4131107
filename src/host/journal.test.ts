import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test } from "vitest";
import { receiver } from "#test/kit/unix-sockets";
import { Journal } from "./journal.ts";

async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), "hatchway-journal-"));
  onTestFinished(() => rm(made, { recursive: true }));
  return made;
}

test("an entry is a datagram, a line for each field", async ({ expect }) => {
  const path = join(await folder(), "socket");
  const there = receiver(path);
  using journal = Journal.open(path);
  expect(journal?.send({ MESSAGE: "two words", HATCHWAY_AUDIT_SEQ: "7" })).toBe(true);
  expect(there.read()).toBe("MESSAGE=two words\nHATCHWAY_AUDIT_SEQ=7\n");
  expect(there.read()).toBe(undefined);
  expect(() => journal?.send({ MESSAGE: "two\nlines" })).toThrow("internal error");
  there.close();
});

test("a journal that takes nothing, or is gone, holds nobody up", async ({ expect }) => {
  const path = join(await folder(), "socket");
  const there = receiver(path);
  using journal = Journal.open(path);
  let taken = 0;
  while (taken < 100_000 && journal?.send({ MESSAGE: "x".repeat(1_000) }) === true) taken += 1;
  expect(taken).toBeGreaterThan(0);
  expect(taken).toBeLessThan(100_000);
  there.close();
  expect(journal?.send({ MESSAGE: "late" })).toBe(false);
});

test("where there is no journald nothing is opened", async ({ expect }) => {
  const made = await folder();
  await writeFile(join(made, "file"), "");
  for (const name of ["none", "file", "file/under", "x".repeat(200)]) {
    expect(Journal.open(join(made, name))).toBe(undefined);
  }
});
