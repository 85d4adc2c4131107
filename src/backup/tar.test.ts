import { describe, test } from "vitest";
import type { BackupHead, BackupItem, BackupSecret, BackupVm } from "#backup";
import { inChunks, itemsOf, joined } from "#test/kit/backup";
import { refusal } from "#test/kit/vault";
import { encodeBackup, tarSize } from "./tar.ts";

const at = "2026-01-31T12:00:00.000Z";
const secret: BackupSecret = {
  name: "db",
  created_at: at,
  modified_at: at,
  description: "größe",
  delivery: { file: true, mode: "0600", user: 0, group: "root", onChange: { reload: "app.service" } },
  versions: [
    { version: 3, size: 600, at },
    { version: 1, size: 0, at },
  ],
};
const vm: BackupVm = {
  name: "web-1",
  created_at: at,
  runner: { uid: 1000, gid: 1000 },
  launch: { memoryMiB: 256, cpus: 1, firmware: { kind: "fw-cfg", reader: "agent", allowReserved: false } },
  grants: [{ secret: "db", change: { env: null, path: "a/b" }, pin: 1, attached_at: at }],
};
const head: BackupHead = {
  format: 1,
  hatchway: "0.1.0",
  made_at: at,
  store: { epoch: "0".repeat(32), revision: 7 },
  secrets: 1,
  vms: 1,
  values: 2,
  bytes: 600,
};
const good: BackupItem[] = [
  { kind: "head", head },
  { kind: "secret", secret },
  { kind: "value", name: "db", version: 3, bytes: Buffer.alloc(600, 0xee) },
  { kind: "value", name: "db", version: 1, bytes: Buffer.alloc(0) },
  { kind: "vm", vm },
];

async function encode(items: readonly BackupItem[]): Promise<Buffer> {
  async function* all(): AsyncGenerator<BackupItem> {
    yield* items;
  }
  return joined(encodeBackup(all()));
}

async function verdict(bytes: Buffer): Promise<string> {
  return refusal(itemsOf(inChunks(bytes, 4_096)));
}

describe("a backup's tar", () => {
  test("is read as it was written, in chunks of any size, and is as long as was said", async ({ expect }) => {
    const bytes = await encode(good);
    expect(bytes.length).toBe(tarSize(head, [secret], [vm]));
    for (const size of [1, 511, 512, 513, bytes.length]) expect(await itemsOf(inChunks(bytes, size))).toEqual(good);
  });

  test("cut anywhere, with a bit changed anywhere, or with something behind it is refused", async ({ expect }) => {
    const bytes = await encode(good);
    for (let length = 0; length < bytes.length; length += 64) {
      expect(await verdict(bytes.subarray(0, length)), `cut at ${length}`).toBe("corrupt");
    }
    for (let where = 0; where < bytes.length; where += 7) {
      const edited = Buffer.from(bytes);
      edited[where] = (edited[where] ?? 0) ^ 1;
      expect(await verdict(edited), `edited at ${where}`).toMatch(/^(corrupt|unsupported)$/);
    }
    expect(await verdict(Buffer.concat([bytes, Buffer.alloc(512)]))).toBe("corrupt");
  });

  test.for<[string, BackupItem[], string]>([
    ["of a newer format", [{ kind: "head", head: { ...head, format: 2 as 1 } }, ...good.slice(1)], "unsupported"],
    ["with a key that is not known", [{ kind: "head", head: { ...head, more: 1 } as BackupHead }], "corrupt"],
    ["without a value", good.filter((item) => item.kind !== "value" || item.version !== 1), "corrupt"],
    ["with a secret twice", [...good.slice(0, 4), ...good.slice(1)], "corrupt"],
    ["without its vm", good.slice(0, 4), "corrupt"],
    ["that does not begin with its head", good.slice(1), "corrupt"],
    ["with a vm before a secret", [...good.slice(0, 1), ...good.slice(4), ...good.slice(1, 4)], "corrupt"],
    [
      "with a name that leads elsewhere",
      [good[0] ?? { kind: "vm", vm }, { kind: "secret", secret: { ...secret, name: "../x", versions: [] } }],
      "corrupt",
    ],
  ])("%s is refused", async ([, items, code], { expect }) => {
    expect(await verdict(await encode(items))).toBe(code);
  });
});
