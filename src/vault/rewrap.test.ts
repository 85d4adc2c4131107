import { describe, test } from "vitest";
import type { Store } from "#store";
import { admin, refusal, TestVault } from "#test/kit/vault";
import { termOf } from "#vault/envelope";

/** Resolves once the rewrap is over; answers how many rows it sealed anew. */
async function rewrapped(made: TestVault): Promise<number> {
  await made.vault.keys.rewrap(admin);
  return over(made);
}

async function over({ vault }: TestVault): Promise<number> {
  for (;;) {
    const { state, done, problem } = await vault.keys.rewrapProgress(admin);
    if (state === "failed") throw new Error(problem);
    if (state !== "running") return done;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function rowsByTerm({ vault }: TestVault): Promise<number[][]> {
  return (await vault.keys.status(admin)).terms.map(({ term, rows }) => [term, rows]);
}

/** A vault with some of every kind of row, and old versions. */
async function filled(options: Parameters<typeof TestVault.open>[0] = {}): Promise<{ made: TestVault; id: string }> {
  const made = await TestVault.open(options);
  for (const value of ["one", "two", "three"]) await made.set("db", value);
  for (let number = 0; number < 40; number++) await made.set(`s${number}`, `value ${number}`);
  const { id } = await made.vm("web", "db", "s7");
  await made.seen(id, "db");
  return { made, id };
}

describe.each(["memory", "sqlite"] as const)("over %s", (store) => {
  test("a new term seals what is new, and what is old stays readable under its own", async ({ expect }) => {
    const { made, id } = await filled({ store });
    await using _ = made;
    const before = (await rowsByTerm(made))[0]?.[1] ?? 0;
    expect(await made.vault.keys.rotate(admin)).toBe(2);
    await made.set("db", "four");
    const [[, old] = [], [, fresh] = []] = await rowsByTerm(made);
    expect(old).toBeLessThan(before);
    expect(fresh).toBeGreaterThanOrEqual(3);
    expect(await made.seen(id, "db")).toBe("four");
    expect(await made.seen(id, "s7")).toBe("value 7");
  });

  test("a rewrap brings every row under the current term, and each opens as before", async ({ expect }) => {
    const { made, id } = await filled({ store });
    await using _ = made;
    await made.vault.keys.rotate(admin);
    const done = await rewrapped(made);
    const [[, old] = [], [, fresh = 0] = []] = await rowsByTerm(made);
    expect(old).toBe(0);
    expect(done).toBeLessThanOrEqual(fresh);
    expect(done).toBeGreaterThan(80);
    expect(await made.seen(id, "db")).toBe("three");
    for (const name of ["s0", "s39"]) expect((await made.vault.secret(admin, name)).name).toBe(name);
    expect(await rewrapped(made)).toBe(0);
    await made.set("db", "four");
    expect(await made.seen(id, "db")).toBe("four");
  });

  test("a term is retired once nothing is sealed under it, and not before", async ({ expect }) => {
    const { made, id } = await filled({ store });
    await using _ = made;
    const { keys } = made.vault;
    expect(await refusal(keys.retire(admin, 1))).toBe("conflict");
    await keys.rotate(admin);
    await expect(keys.retire(admin, 1)).rejects.toMatchObject({
      code: "conflict",
      message: expect.stringMatching(/^\d+ rows are sealed under term 1$/),
    });
    expect(await refusal(keys.retire(admin, 7))).toBe("not-found");
    await rewrapped(made);
    await keys.retire(admin, 1);
    expect((await keys.status(admin)).terms.map(({ term }) => term)).toEqual([2]);
    expect(await made.seen(id, "db")).toBe("three");
    if (store === "sqlite") {
      await made.stop();
      await made.start();
      expect(await made.seen(id, "s7")).toBe("value 7");
    }
    const lines = (await made.audit()).filter(({ op, phase }) => op.startsWith("key.") && phase === "outcome");
    expect(lines.map(({ op, version, outcome }) => `${op} ${version} ${outcome}`)).toEqual([
      "key.retire 1 conflict",
      "key.rotate 2 ok",
      "key.retire 1 conflict",
      "key.retire 7 not-found",
      "key.rewrap 2 ok",
      "key.retire 1 ok",
    ]);
  });
});

test("changes go on during a rewrap, and none is lost", async ({ expect }) => {
  const { made, id } = await filled();
  await using _ = made;
  await made.vault.keys.rotate(admin);
  await made.vault.keys.rewrap(admin);
  const writes: Promise<unknown>[] = [];
  for (let number = 0; number < 40; number++) writes.push(made.set(`s${number}`, `newer ${number}`));
  await Promise.all(writes);
  await over(made);
  expect((await rowsByTerm(made))[0]).toEqual([1, 0]);
  expect(await made.seen(id, "s7")).toBe("newer 7");
  expect(await made.seen(id, "db")).toBe("three");
});

test("a change that was sealed before a term was retired is not lost", async ({ expect }) => {
  const sealed = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  let holding = false;
  const around = (store: Store): Store => ({
    ...store,
    epoch: () => store.epoch(),
    revision: () => store.revision(),
    read: (...all) => store.read(...all),
    list: (...all) => store.list(...all),
    committed: (...all) => store.committed(...all),
    watch: (...all) => store.watch(...all),
    close: () => store.close(),
    commit: async (change) => {
      const late = holding && change.put.some(({ bytes, key }) => key.startsWith("value:") && termOf(bytes) === 1);
      if (late) {
        sealed.resolve();
        await released.promise;
      }
      return store.commit(change);
    },
  });
  await using made = await TestVault.open({ around });
  const { id } = await made.vm("web");
  holding = true;
  const late = made.set("late", "sealed under term 1");
  await sealed.promise;
  const { keys } = made.vault;
  await keys.rotate(admin);
  await rewrapped(made);
  const retired = refusal(keys.retire(admin, 1));
  released.resolve();
  expect(await retired).toBe("conflict");
  await late;
  await made.vault.attach(admin, "web", [{ secret: "late", change: {} }]);
  expect(await made.seen(id, "late")).toBe("sealed under term 1");
});

test("a rewrap that a crash cut off goes on by itself at the next start", async ({ expect }) => {
  const { made, id } = await filled({ store: "sqlite" });
  await using _ = made;
  await made.vault.keys.rotate(admin);
  await made.vault.keys.rewrap(admin);
  await made.crash();
  await made.start();
  await over(made);
  expect((await rowsByTerm(made))[0]).toEqual([1, 0]);
  expect(await made.seen(id, "db")).toBe("three");
});
