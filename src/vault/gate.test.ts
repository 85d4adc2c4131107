import { open, readFile, truncate, writeFile, type FileHandle } from "node:fs/promises";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { describe, test, vi } from "vitest";
import { HatchwayError } from "#error";
import { Faults } from "#store/memory";
import type { Change, CommitResult, Store } from "#store";
import { deleteRaw } from "#test/kit/tamper";
import { admin, guest, refusal, TestVault } from "#test/kit/vault";

const line = (entry: object): string =>
  JSON.stringify(entry, ["phase", "op", "secret", "vm", "version", "outcome"]).replaceAll('"', "");

test("a change has an intent before it and an outcome after it", async ({ expect }) => {
  await using made = await TestVault.open();
  await made.set("db", "one");
  await made.set("db", "two");
  expect(await refusal(made.vault.putSecret(admin, "db", "create", { value: Buffer.from("x") }))).toBe("exists");
  expect((await made.audit()).map(line)).toEqual([
    "{phase:intent,op:secret.set,secret:db}",
    "{phase:outcome,op:secret.set,secret:db,version:1,outcome:ok}",
    "{phase:intent,op:secret.set,secret:db}",
    "{phase:outcome,op:secret.set,secret:db,version:2,outcome:ok}",
    "{phase:intent,op:secret.create,secret:db}",
    "{phase:outcome,op:secret.create,secret:db,outcome:exists}",
  ]);
});

test("a refusal leaves one line, and nothing is done", async ({ expect }) => {
  await using made = await TestVault.open();
  const stranger = { kind: "unix", uid: 1001, gid: 1001, pid: 7 } as const;
  expect(await refusal(made.vault.putSecret(stranger, "db", "set", { value: Buffer.from("x") }))).toBe("forbidden");
  expect(await refusal(made.vault.secrets(stranger))).toBe("forbidden");
  expect(await made.vault.secrets(admin)).toEqual([]);
  const lines = await made.audit();
  expect(lines.map(line)).toEqual([
    "{phase:outcome,op:secret.set,secret:db,outcome:forbidden}",
    "{phase:outcome,op:secret.list,outcome:forbidden}",
  ]);
  expect(lines.every(({ caller }) => caller === "unix:uid=1001,gid=1001,pid=7")).toBe(true);
});

test("a disclosure has its line before a byte leaves", async ({ expect }) => {
  await using made = await TestVault.open();
  await made.set("db", "one");
  const { id } = await made.vm("web", "db");
  const bundle = await made.vault.resolve(guest(id), id);
  const count = (await made.audit()).length;
  await bundle.disclose(bundle.manifest.entries);
  expect((await made.audit()).slice(count).map(line)).toEqual([
    "{phase:outcome,op:secret.disclose,secret:db,vm:web,version:1,outcome:ok}",
  ]);
});

describe("when the audit cannot be written", () => {
  test("nothing is changed and nothing is disclosed", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "one");
    const { id } = await made.vm("web", "db");
    const bundle = await made.vault.resolve(guest(id), id);
    const revision = await made.store.revision();
    await using disk = await fullDisk(made);
    expect(await refusal(made.set("db", "two"))).toBe("unavailable");
    expect(await refusal(made.vault.removeSecret(admin, "db"))).toBe("unavailable");
    expect(await refusal(made.vault.attach(admin, "web", []))).toBe("unavailable");
    expect(await refusal(made.vault.claim(guest(id), Buffer.alloc(32)))).toBe("unavailable");
    expect(await refusal(bundle.disclose(bundle.manifest.entries))).toBe("unavailable");
    expect(await refusal(made.vault.secrets({ kind: "unix", uid: 5, gid: 5, pid: 5 }))).toBe("unavailable");
    expect(await made.store.revision()).toBe(revision);
    expect((await made.vault.secret(admin, "db")).version).toBe(1);
    expect(disk.refused).toBeGreaterThan(0);
  });
});

test("with durable reads, a value whose line cannot be synced stays; without, it leaves", async ({ expect }) => {
  for (const durableReads of [true, false]) {
    await using made = await TestVault.open({ vault: { durableReads } });
    await made.set("db", "one");
    const { id } = await made.vm("web", "db");
    const bundle = await made.vault.resolve(guest(id), id);
    const datasync = vi.spyOn(await fileHandle(made), "datasync");
    datasync.mockRejectedValue(Object.assign(new Error("EIO: i/o error, fdatasync"), { code: "EIO" }));
    try {
      expect(await refusal(bundle.disclose(bundle.manifest.entries))).toBe(durableReads ? "unavailable" : "done");
    } finally {
      datasync.mockRestore();
    }
  }
});

/** What all file handles have their methods from. */
async function fileHandle(made: TestVault): Promise<FileHandle> {
  const probe = await open(made.places.keyring);
  await probe.close();
  return Object.getPrototypeOf(probe) as FileHandle;
}

/** Makes every later write to files of this process fail as on a full disk. */
async function fullDisk(made: TestVault): Promise<AsyncDisposable & { refused: number }> {
  const prototype = await fileHandle(made);
  const state = {
    refused: 0,
    async [Symbol.asyncDispose]() {
      vi.restoreAllMocks();
      syncBuiltinESMExports();
    },
  };
  const refuse = (): Error => {
    state.refused++;
    return Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  };
  vi.spyOn(prototype, "write").mockImplementation(() => Promise.reject(refuse()));
  vi.spyOn(fs, "writeSync").mockImplementation(() => {
    throw refuse();
  });
  syncBuiltinESMExports();
  return state;
}

describe("when another change comes first", () => {
  test("the change is tried again from its reading on", async ({ expect }) => {
    const faults = new Faults();
    await using made = await TestVault.open({ faults });
    await made.set("db", "one");
    for (let count = 0; count < 7; count++) faults.next("conflict");
    expect((await made.set("db", "two")).secret.version).toBe(2);
  });

  test("it gives up after eight times, and says so", async ({ expect }) => {
    const faults = new Faults();
    await using made = await TestVault.open({ faults });
    await made.set("db", "one");
    for (let count = 0; count < 8; count++) faults.next("conflict");
    expect(await refusal(made.set("db", "two"))).toBe("conflict");
    expect((await made.audit()).at(-1)).toMatchObject({ phase: "outcome", outcome: "conflict" });
    expect((await made.vault.secret(admin, "db")).version).toBe(1);
  });

  test("changes of one secret at one time are all made, one after the other", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "0");
    const versions = await Promise.all([1, 2, 3, 4, 5].map(async (n) => (await made.set("db", `${n}`)).secret.version));
    expect(versions.toSorted((a, b) => a - b)).toEqual([2, 3, 4, 5, 6]);
  });
});

describe("when the store does not say whether it was done", () => {
  test("and it was, the change is acknowledged", async ({ expect }) => {
    const faults = new Faults();
    await using made = await TestVault.open({ faults });
    faults.next("unknown-applied");
    expect((await made.set("db", "one")).secret.version).toBe(1);
    expect((await made.audit()).at(-1)).toMatchObject({ outcome: "ok", version: 1 });
  });

  test("and it was not, the caller is told so, once it has been asked for long enough", async ({ expect }) => {
    const faults = new Faults();
    await using made = await TestVault.open({ faults });
    faults.next("unknown-lost");
    vi.useFakeTimers({ toFake: ["setTimeout", "Date", "performance"] });
    try {
      const refused: unknown[] = [];
      made.set("db", "one").catch((error: unknown) => refused.push(error));
      while (refused.length === 0) {
        await vi.advanceTimersByTimeAsync(100);
        await new Promise(setImmediate);
      }
      expect(refused[0]).toMatchObject({
        code: "unavailable",
        message: "the store does not say whether the change was made",
      });
    } finally {
      vi.useRealTimers();
    }
    expect(await made.vault.secrets(admin)).toEqual([]);
  });

  test("because it is still under way, it is asked again", async ({ expect }) => {
    let asked = 0;
    const faults = new Faults();
    /** As a store whose disk hangs past the deadline: the operation is under way, and done in the end. */
    const slow = (store: Store): Store =>
      new Proxy(store, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name, target);
          if (name === "committed") {
            return async (opId: string) => {
              if (++asked < 3) throw new HatchwayError("unavailable", "under way");
              return target.committed(opId);
            };
          }
          return typeof value === "function" ? (value.bind(target) as unknown) : value;
        },
      });
    await using made = await TestVault.open({ faults, below: slow });
    faults.next("unknown-applied");
    expect((await made.set("db", "one")).created).toBe(true);
    expect(asked).toBe(3);
  });
});

/** A store that loses track of one detach: it says "unknown", and does it when it is told to. */
class LateStore {
  armed = false;
  #late: (() => Promise<unknown>) | undefined;

  around(store: Store): Store {
    return new Proxy(store, {
      get: (target, name) => {
        if (name === "commit") return (change: Change) => this.#commit(target, change);
        if (name === "committed") return (opId: string) => this.#committed(target, opId);
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
  }

  async #commit(store: Store, change: Change): Promise<CommitResult> {
    if (!this.armed) return store.commit(change);
    this.armed = false;
    this.#late = () => store.commit(change);
    return { outcome: "unknown" };
  }

  async #committed(store: Store, opId: string): Promise<number | undefined> {
    if (this.#late) throw new HatchwayError("unavailable", "under way");
    return store.committed(opId);
  }

  async act(): Promise<void> {
    const late = this.#late;
    this.#late = undefined;
    await late?.();
  }
}

test("a change that is made after it was given up holds, and has its outcome then", async ({ expect }) => {
  const late = new LateStore();
  await using made = await TestVault.open({ below: (store) => late.around(store) });
  await made.set("db", "one");
  const { id } = await made.vm("web", "db");
  expect(await made.seen(id, "db")).toBe("one");
  vi.useFakeTimers({ toFake: ["setTimeout", "Date", "performance"] });
  try {
    late.armed = true;
    const refused = refusal(made.vault.detach(admin, "web", "db"));
    const codes: string[] = [];
    void refused.then((code) => codes.push(code));
    while (codes.length === 0) {
      await vi.advanceTimersByTimeAsync(100);
      await new Promise(setImmediate);
    }
    expect(codes).toEqual(["unavailable"]);
  } finally {
    vi.useRealTimers();
  }
  expect(await made.seen(id, "db")).toBe("one");
  await late.act();
  expect(await made.seen(id, "db")).toBeUndefined();
  await made.set("db", "two");
  expect((await made.audit()).map(line).slice(-3)).toEqual([
    "{phase:outcome,op:grant.detach,secret:db,vm:web,outcome:ok}",
    "{phase:intent,op:secret.set,secret:db}",
    "{phase:outcome,op:secret.set,secret:db,version:2,outcome:ok}",
  ]);
});

test("changes of one VM, and of one secret, that come at once are all made", async ({ expect }) => {
  await using made = await TestVault.open({ store: "sqlite" });
  const names = Array.from({ length: 30 }, (_, at) => `s${at}`);
  await Promise.all(names.map((name) => made.set(name, "1")));
  const { id } = await made.vm("web");
  await Promise.all(names.map((name) => made.vault.attach(admin, "web", [{ secret: name, change: {} }])));
  await Promise.all(names.map(() => made.set("s0", "again")));
  expect((await made.vault.grants(admin, "web")).length).toBe(30);
  expect((await made.vault.secret(admin, "s0")).version).toBe(31);
  expect((await made.vault.resolve(guest(id), id)).manifest.entries.length).toBe(30);
});

describe("at start", () => {
  test("an intent whose end nobody wrote is resolved by what the store knows", async ({ expect }) => {
    await using made = await TestVault.open({ store: "sqlite" });
    await made.set("db", "one");
    await made.set("web", "one");
    await made.crash();
    // It was killed between the commit and its line: the last outcome is not in the trail.
    const whole = await readFile(made.places.audit, "utf8");
    await truncate(made.places.audit, whole.lastIndexOf("\n", whole.length - 2) + 1);
    await made.start();
    expect((await made.audit()).map(line).slice(2)).toEqual([
      "{phase:intent,op:secret.set,secret:web}",
      "{phase:outcome,op:secret.set,secret:web,outcome:ok}",
    ]);
  });

  test("a store that is older than the trail is refused", async ({ expect }) => {
    await using made = await TestVault.open({ store: "sqlite" });
    await made.set("db", "one");
    await made.stop();
    const old = await readFile(made.storeFile);
    await made.start();
    await made.set("db", "two");
    await made.stop();
    await writeFile(made.storeFile, old);
    await expect(made.start()).rejects.toMatchObject({
      code: "corrupt",
      message: expect.stringContaining("the store is older than the audit trail") as string,
    });
  });

  test("a trail that lost its last line is refused, though that line was of a mere disclosure", async ({ expect }) => {
    await using made = await TestVault.open({ store: "sqlite" });
    await made.set("db", "one");
    const { id } = await made.vm("web", "db");
    expect(await made.seen(id, "db")).toBe("one");
    await made.stop();
    const whole = await readFile(made.places.audit, "utf8");
    await truncate(made.places.audit, whole.lastIndexOf("\n", whole.length - 2) + 1);
    await expect(made.start()).rejects.toMatchObject({ code: "corrupt" });
  });

  test("a store without the row that anchors the trail is refused", async ({ expect }) => {
    await using made = await TestVault.open({ store: "sqlite" });
    await made.set("db", "one");
    await made.stop();
    deleteRaw(made.storeFile, ["head"]);
    await expect(made.start()).rejects.toMatchObject({ code: "corrupt" });
  });
});
