import { chmod, link, mkdtemp, open, rename, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, it } from "vitest";
import type { HatchwayError } from "#error";
import { MAX_INNER_OPERATIONS, type Store } from "#store";
import { bytesOf, change } from "#test/kit/store-calls";
import { describeStore } from "#test/kit/store-conformance";
import { openSqliteStore } from "./sqlite.ts";

describeStore("sqlite store", async () => {
  const directory = await mkdtemp(join(tmpdir(), "hatchway-store-"));
  const reopen = (): Promise<Store> => openSqliteStore(join(directory, "store.db"), { create: true });
  const store = await reopen();
  return {
    store,
    operations: MAX_INNER_OPERATIONS,
    reopen: async () => {
      await store.close();
      return reopen();
    },
    remove: () => rm(directory, { recursive: true }),
  };
});

describe("a sqlite store's place", () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "hatchway-store-"));
    path = join(directory, "store.db");
  });
  afterEach(() => rm(directory, { recursive: true }));

  const make = async (): Promise<void> => {
    const store = await openSqliteStore(path, { create: true });
    await store.commit(change({ put: [{ key: "a", bytes: bytesOf("1") }] }));
    await store.close();
  };
  const refusal = async (create = false): Promise<HatchwayError> =>
    openSqliteStore(path, { create }).then(
      async (store) => {
        await store.close();
        throw new Error("the store was opened");
      },
      (error: HatchwayError) => error,
    );

  it("is made for its owner alone", async ({ expect }) => {
    path = join(directory, "a", "b", "store.db");
    await make();
    const modes = [join(directory, "a"), join(directory, "a", "b"), path, `${path}.lock`].map(
      async (each) => (await stat(each)).mode & 0o777,
    );
    expect(await Promise.all(modes)).toEqual([0o700, 0o700, 0o600, 0o600]);
  });

  it("must be there, unless it shall be made", async ({ expect }) => {
    expect(await refusal()).toMatchObject({ code: "not-found", message: `store "${path}" does not exist` });
    await writeFile(path, "", { mode: 0o600 });
    expect(await refusal()).toMatchObject({ code: "corrupt", message: `store "${path}" is empty: it was never made` });
    await make();
  });

  it("has one owner", async ({ expect }) => {
    const store = await openSqliteStore(path, { create: true });
    const message = `store "${path}" is open in this process already`;
    expect(await refusal()).toMatchObject({ code: "locked", message });
    expect(await refusal()).toMatchObject({ code: "locked" });
    await store.close();
    await make();
  });

  it("is nobody else's to read", async ({ expect }) => {
    await make();
    await chmod(path, 0o640);
    expect(await refusal()).toMatchObject({
      code: "forbidden",
      message: `store "${path}" has mode 0640: it should be 0600`,
    });
    await chmod(path, 0o600);
    await chmod(directory, 0o711);
    expect(await refusal()).toMatchObject({
      code: "forbidden",
      message: `directory "${directory}" has mode 0711: it should be 0700`,
      hint: `chmod 0700 ${directory}`,
    });
    await chmod(directory, 0o700);
  });

  it("that is large and damaged where nothing has looked yet fails by itself", async ({ expect }) => {
    const store = await openSqliteStore(path, { create: true });
    for (let at = 0; at < 20; at += 1) {
      await store.commit(change({ put: [{ key: `big-${at}`, bytes: Buffer.alloc(1_048_576, at) }] }));
    }
    await store.close();
    const { size } = await stat(path);
    const file = await open(path, "r+");
    await file.write(Buffer.alloc(65_536, 0xff), 0, 65_536, Math.floor(size / 2 / 4_096) * 4_096);
    await file.close();
    const { promise, resolve: onFatal } = Promise.withResolvers<HatchwayError>();
    const again = await openSqliteStore(path, { create: false, onFatal });
    expect(await promise).toMatchObject({ code: "corrupt", message: `store "${path}" is damaged` });
    await expect(again.read(["big-0"])).rejects.toMatchObject({ code: "unavailable" });
    await again.close();
  });

  it("is a file with one name", async ({ expect }) => {
    await make();
    await link(path, join(directory, "other.db"));
    expect((await refusal()).message).toBe(`store "${path}" has 2 names: it should have one`);
    await rm(path);
    await symlink("other.db", path);
    expect((await refusal()).message).toBe(`store "${path}" is a symbolic link: it should be a file`);
    await rm(path);
    await rename(join(directory, "other.db"), path);
    await make();
  });

  const damages: { what: string; damage: () => Promise<void>; code: string; message: RegExp }[] = [
    {
      what: "a newer format",
      damage: async () => edit("UPDATE meta SET format = 2"),
      code: "unsupported",
      message: /has format 2: this version reads format 1$/,
    },
    {
      what: "another program's database",
      damage: async () => {
        await rm(path);
        edit("CREATE TABLE other (x)");
        await chmod(path, 0o600);
      },
      code: "corrupt",
      message: /is a database but no hatchway store$/,
    },
    {
      what: "a trigger that somebody added",
      damage: async () => edit("CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM rows; END"),
      code: "corrupt",
      message: /has other tables than format 1$/,
    },
    {
      what: "no database",
      damage: () => writeFile(path, "x".repeat(8_192)),
      code: "corrupt",
      message: /is not a database$/,
    },
    {
      what: "a file that was cut",
      damage: () => truncate(path, 8_192),
      code: "corrupt",
      message: /is damaged$/,
    },
  ];
  const edit = (sql: string): void => {
    const database = new DatabaseSync(path);
    database.exec(sql);
    database.close();
  };
  for (const { what, damage, code, message } of damages) {
    it(`refuses ${what}`, async ({ expect }) => {
      await make();
      await damage();
      const error = await refusal(true);
      expect(error.code).toBe(code);
      expect(error.message).toMatch(message);
    });
  }
});
