import { randomBytes } from "node:crypto";
import { test } from "vitest";
import { HatchwayError } from "#error";
import { Key } from "#vault/envelope";
import { decodeKeyBackup, encodeKeyBackup, type KeyBackup } from "#vault/key-backup";

function backup(): KeyBackup {
  const created = "2026-01-31T12:00:00.000Z";
  const terms = [1, 3].map((term) => ({ term, created, key: Key.random() }));
  return { storeId: randomBytes(16), root: Key.random(), current: 3, terms };
}

test("a backup of keys reads back as it was", ({ expect }) => {
  const made = backup();
  const read = decodeKeyBackup(encodeKeyBackup(made));
  expect(read.storeId).toEqual(made.storeId);
  expect(read.root.bytes.equals(made.root.bytes)).toBe(true);
  expect(read.current).toBe(3);
  expect(read.terms.map(({ term, created, key }) => [term, created, key.bytes.toString("hex")])).toEqual(
    made.terms.map(({ term, created, key }) => [term, created, key.bytes.toString("hex")]),
  );
});

test("it is text that a shell can read", ({ expect }) => {
  const made = backup();
  const [one, two] = made.terms;
  expect(encodeKeyBackup(made).toString()).toBe(
    [
      "hatchway key backup 1",
      `store ${made.storeId.toString("hex")}`,
      `root ${made.root.bytes.toString("hex")}`,
      "current 3",
      `term 1 ${one?.key.bytes.toString("hex")} ${one?.created}`,
      `term 3 ${two?.key.bytes.toString("hex")} ${two?.created}`,
      "",
    ].join("\n"),
  );
});

test("what is no backup of keys, or one that is cut, ends in an error that tells no key", ({ expect }) => {
  const good = encodeKeyBackup(backup());
  const text = good.toString();
  const bad = [
    ...Array.from({ length: good.length - 30 }, (_, size) => text.slice(0, size)),
    text.replace("backup 1", "backup 2"),
    text.replace("current 3", "current 2"),
    text.replace(/root ../, "root xx"),
    `${text}root ${"0".repeat(64)}\n`,
  ];
  for (const one of bad) {
    try {
      decodeKeyBackup(Buffer.from(one));
      expect.unreachable(`"${one.slice(0, 30)}" of ${one.length} bytes was read`);
    } catch (error) {
      if (!(error instanceof HatchwayError)) throw error;
      expect(["corrupt", "unsupported"]).toContain(error.code);
      expect(error.message).not.toMatch(/[0-9a-f]{16}/);
    }
  }
});
