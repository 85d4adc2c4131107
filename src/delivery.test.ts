import { describe, test } from "vitest";
import { Delivery } from "#delivery";
import { admin, guest, refusal, TestVault } from "#test/kit/vault";
import { isSynced } from "#vm";

const never = new AbortController().signal;
const LONG = 60_000;

async function withVm(): Promise<{ made: TestVault; id: string; delivery: Delivery; have: string }> {
  const made = await TestVault.open();
  await made.set("db", "1");
  const { id } = await made.vm("web", "db");
  const delivery = new Delivery(made.vault);
  const bundle = await delivery.next(guest(id), id, undefined, 0, never);
  return { made, id, delivery, have: bundle?.manifest.revision ?? "" };
}

/** Long enough for everything that is under way to come to rest. */
async function rest(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20));
}

describe("who waits for the next bundle", () => {
  test("has it at once when it is another than his", async ({ expect }) => {
    const { made, id, delivery, have } = await withVm();
    await using _ = made;
    for (const other of [undefined, "x", `${have}0`]) {
      const bundle = await delivery.next(guest(id), id, other, LONG, never);
      expect(bundle?.manifest.revision).toBe(have);
    }
  });

  test("is sent away when the daemon stops", async ({ expect }) => {
    const { made, id, delivery, have } = await withVm();
    await using _ = made;
    const next = refusal(delivery.next(guest(id), id, have, LONG, never));
    const converged = refusal(delivery.converged(admin, id, LONG, never, isSynced));
    await rest();
    delivery.close();
    expect(await Promise.all([next, converged])).toEqual(["unavailable", "unavailable"]);
  });

  test("has nothing when the time is over", async ({ expect }) => {
    const { made, id, delivery, have } = await withVm();
    await using _ = made;
    expect(await delivery.next(guest(id), id, have, 0, never)).toBeUndefined();
    expect(await delivery.next(guest(id), id, have, 10, never)).toBeUndefined();
  });

  test("is woken by a change, and only by one of his vm", async ({ expect }) => {
    const { made, id, delivery, have } = await withVm();
    await using _ = made;
    await made.set("other", "1");
    await made.vm("b", "other");
    let woken = false;
    const next = delivery.next(guest(id), id, have, LONG, never).finally(() => {
      woken = true;
    });
    await made.set("other", "2");
    await rest();
    expect(woken).toBe(false);
    await made.set("db", "2");
    expect((await next)?.manifest.entries).toMatchObject([{ name: "db", version: 2 }]);
  });

  test("is woken by attach, detach, removal of the secret and of the vm", async ({ expect }) => {
    const { made, id, delivery, have } = await withVm();
    await using _ = made;
    await made.set("more", "1");
    const names = async (from: string, act: () => Promise<unknown>): Promise<[string, string[]]> => {
      const next = delivery.next(guest(id), id, from, LONG, never);
      await act();
      const bundle = await next;
      return [bundle?.manifest.revision ?? "", bundle?.manifest.entries.map(({ name }) => name) ?? []];
    };
    const [two, both] = await names(have, () => made.vault.attach(admin, "web", [{ secret: "more", change: {} }]));
    expect(both).toEqual(["db", "more"]);
    const [three, one] = await names(two, () => made.vault.detach(admin, "web", "more"));
    expect(one).toEqual(["db"]);
    const [four, none] = await names(three, () => made.vault.removeSecret(admin, "db"));
    expect(none).toEqual([]);
    const gone = refusal(delivery.next(guest(id), id, four, LONG, never));
    await made.vault.removeVm(admin, "web");
    expect(await gone).toBe("not-found");
  });

  test("goes on waiting after a change that leaves what he has", async ({ expect }) => {
    const { made, id, delivery, have } = await withVm();
    await using _ = made;
    const next = delivery.next(guest(id), id, have, LONG, never);
    await made.vault.putSecret(admin, "db", "update", { delivery: { mode: "0600" } });
    await rest();
    await made.set("db", "2");
    expect((await next)?.counter).toBe(2);
  });

  test("misses no change that comes while it is looked", async ({ expect }) => {
    const { made, id, delivery } = await withVm();
    await using _ = made;
    let { have } = { have: "" };
    for (let round = 2; round < 40; round++) {
      have = (await delivery.next(guest(id), id, undefined, 0, never))?.manifest.revision ?? "";
      const [next] = await Promise.all([delivery.next(guest(id), id, have, LONG, never), made.set("db", `${round}`)]);
      expect(next?.manifest.entries[0]?.version).toBe(round);
    }
  });

  test("ends when he is gone, before and while he waits", async ({ expect }) => {
    const { made, id, delivery, have } = await withVm();
    await using _ = made;
    expect(await delivery.next(guest(id), id, have, LONG, AbortSignal.abort())).toBeUndefined();
    const gone = new AbortController();
    const next = delivery.next(guest(id), id, have, LONG, gone.signal);
    await rest();
    gone.abort();
    expect(await next).toBeUndefined();
  });

  test("a thousand of one vm are all woken", async ({ expect }) => {
    const { made, id, delivery, have } = await withVm();
    await using _ = made;
    const all = Array.from({ length: 1_000 }, () => delivery.next(guest(id), id, have, LONG, never));
    await rest();
    await made.set("db", "2");
    const counters = (await Promise.all(all)).map((bundle) => bundle?.counter);
    expect(new Set(counters)).toEqual(new Set([2]));
  });

  test("is refused without a claim", async ({ expect }) => {
    const { made, id, delivery } = await withVm();
    await using _ = made;
    const caller = { ...guest(id), proven: false };
    expect(await refusal(delivery.next(caller, id, undefined, LONG, never))).toBe("unauthenticated");
  });
});

describe("who waits for a vm to have it", () => {
  test("is told by the guest's receipt", async ({ expect }) => {
    const { made, id, delivery, have } = await withVm();
    await using _ = made;
    const converged = delivery.converged(admin, id, LONG, never, isSynced);
    await rest();
    const bundle = await made.vault.resolve(guest(id), id);
    await bundle.disclose(bundle.manifest.entries);
    await delivery.receive(guest(id), have, { outcome: "applied", refused: [], mount: "tmpfs", agent: "t" });
    expect(await converged).toMatchObject({ wanted: 1, applied: { counter: 1 } });
  });

  test("is told that time is over", async ({ expect }) => {
    const { made, id, delivery } = await withVm();
    await using _ = made;
    await expect(delivery.converged(admin, id, 10, never, isSynced)).rejects.toMatchObject({
      code: "timeout",
      message: "the guest did not answer within 0.01 s",
    });
  });
});
