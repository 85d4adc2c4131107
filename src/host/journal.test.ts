import { closeSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import koffi from "koffi";
import { onTestFinished, test } from "vitest";
import { Journal } from "./journal.ts";
import { socket } from "./libc.ts";

const libc = koffi.load("libc.so.6");
const bind = libc.func("int bind(int fd, const uint8_t *address, uint32_t length)") as (
  fd: number,
  address: Uint8Array,
  length: number,
) => number;
const recv = libc.func("int64_t recv(int fd, _Out_ uint8_t *bytes, size_t size, int flags)") as (
  fd: number,
  bytes: Uint8Array,
  size: number,
  flags: number,
) => number;
const MSG_DONTWAIT = 0x40;

async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), "hatchway-journal-"));
  onTestFinished(() => rm(made, { recursive: true }));
  return made;
}

/** A datagram socket of unix(7) at `path`; `read` gives what came, undefined where nothing waits. */
function receiver(path: string): { read: () => string | undefined; close: () => void } {
  const fd = socket(1, 2, 0);
  const address = Buffer.from(`\u0001\0${path}\0`, "latin1");
  if (bind(fd, address, address.length) !== 0) throw new Error(`cannot bind "${path}"`);
  const read = (): string | undefined => {
    const bytes = Buffer.alloc(65_536);
    const size = recv(fd, bytes, bytes.length, MSG_DONTWAIT);
    return size < 0 ? undefined : bytes.toString("latin1", 0, size);
  };
  return { read, close: () => closeSync(fd) };
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
