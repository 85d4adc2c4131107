import { describe, test, vi } from "vitest";
import type { ManifestEntry } from "#protocol/manifest";
import type { ReceiptClaim } from "#vault";
import { isSynced, type Convergence } from "#vm";
import { admin, guest, refusal, TestVault } from "#test/kit/vault";

const key = (byte: number): Buffer => Buffer.alloc(32, byte);
const applied: ReceiptClaim = { outcome: "applied", refused: [], mount: "tmpfs", agent: "0.1.0" };
const host = { kind: "embedded", uid: 0, purpose: "test" } as const;

async function withVm(store: "memory" | "sqlite" = "memory"): Promise<{ made: TestVault; id: string }> {
  const made = await TestVault.open({ store });
  await made.set("db", "1");
  const { id } = await made.vm("web", "db");
  return { made, id };
}

async function fetched(made: TestVault, id: string): Promise<string> {
  const bundle = await made.vault.resolve(guest(id), id);
  await bundle.disclose(bundle.changedSince(undefined));
  return bundle.manifest.revision;
}

const state = (made: TestVault, id: string): Promise<Convergence> => made.vault.convergence(admin, id);

describe("a push", () => {
  const rootless = { kind: "unix", uid: 1001, gid: 1001, pid: 1 } as const;

  test("of what the vm is to have counts as a receipt", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const { manifest } = await made.vault.export(admin, "web");
    await made.vault.pushed(admin, "web", manifest.revision, "tmpfs");
    expect(isSynced(await state(made, id))).toBe(true);
    expect((await state(made, id)).applied).toMatchObject({
      outcome: "applied",
      mount: "tmpfs",
      agent: "pushed by ssh",
    });
    await made.set("db", "2");
    expect(isSynced(await state(made, id))).toBe(false);
  });

  test("of another boot, of what was passed, or of nothing is refused", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const first = (await made.vault.export(admin, "web")).manifest.revision;
    await made.set("db", "2");
    const second = (await made.vault.export(admin, "web")).manifest.revision;
    await made.vault.pushed(admin, "web", second, "tmpfs");
    for (const revision of [first, "nonsense", second.replace(/[0-9]+$/, "9")]) {
      expect(await refusal(made.vault.pushed(admin, "web", revision, "tmpfs")), revision).toBe("invalid");
    }
    await made.vault.newGeneration(host, id);
    expect(await refusal(made.vault.pushed(admin, "web", second, "tmpfs"))).toBe("invalid");
  });

  test("is for who may export, and no guest or runner", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const { revision } = (await made.vault.export(admin, "web")).manifest;
    for (const caller of [guest(id), { kind: "runner", uid: 7, vmId: id }, rootless] as const) {
      expect(await refusal(made.vault.pushed(caller, "web", revision, "tmpfs"))).toBe("forbidden");
    }
  });
});

describe("the claim", () => {
  test("is the first key's, which may claim again; another is refused with an alarm", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const caller = { ...guest(id), proven: false };
    expect(await made.vault.proves(caller, key(1))).toBe(false);
    await made.vault.claim(caller, key(1));
    await made.vault.claim(caller, key(1));
    expect(await refusal(made.vault.claim(caller, key(2)))).toBe("exists");
    expect(await made.vault.proves(caller, key(1))).toBe(true);
    expect(await made.vault.proves(caller, key(2))).toBe(false);
    const { claimed, alarms } = await state(made, id);
    expect(claimed).toBe(true);
    expect(alarms.map(({ what, count }) => [what, count])).toEqual([
      ["second claim", 1],
      ["wrong claim key", 1],
    ]);
    const alarmLines = (await made.audit()).filter(({ outcome }) => outcome === "alarm");
    expect(alarmLines.map(({ op }) => op)).toEqual(["vm.claim", "vm.claim"]);
  });

  test("is one key's, though many claim at one time", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const keys = Array.from({ length: 10 }, (__, at) => key(at));
    const outcomes = await Promise.all(keys.map((each) => refusal(made.vault.claim(guest(id), each))));
    expect(outcomes.filter((outcome) => outcome === "done")).toHaveLength(1);
    const proofs = await Promise.all(keys.map((each) => made.vault.proves(guest(id), each)));
    expect(proofs).toEqual(outcomes.map((outcome) => outcome === "done"));
  });

  test("outlives a restart of the host's side, and ends with the boot", async ({ expect }) => {
    const { made, id } = await withVm("sqlite");
    await using _ = made;
    await made.vault.claim(guest(id), key(1));
    await made.stop();
    await made.start();
    expect(await made.vault.proves(guest(id), key(1))).toBe(true);
    expect(await refusal(made.vault.claim(guest(id), key(2)))).toBe("exists");
    await made.vault.newGeneration(host, id);
    expect(await made.vault.proves(guest(id), key(1))).toBe(false);
    await made.vault.claim(guest(id), key(2));
    expect(await made.vault.proves(guest(id), key(2))).toBe(true);
  });

  test("is no admin's, no runner's and not of a vm that is gone", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    for (const caller of [admin, host, { kind: "runner", uid: 1000, vmId: id } as const]) {
      expect(await refusal(made.vault.claim(caller, key(1)))).toBe("forbidden");
      expect(await refusal(made.vault.proves(caller, key(1)))).toBe("forbidden");
      expect(await refusal(made.vault.receive(caller, "x", applied))).toBe("forbidden");
    }
    await made.vault.removeVm(admin, "web");
    expect(await refusal(made.vault.claim(guest(id), key(1)))).toBe("not-found");
  });

  test("key is not in the audit, nor in the store", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    await made.vault.claim(guest(id), key(0x5a));
    expect(JSON.stringify(await made.audit())).not.toContain("5a5a5a");
  });
});

test("alarms of a kind are kept once a second, so that a guest cannot fill the disk", async ({ expect }) => {
  const { made, id } = await withVm();
  await using _ = made;
  await made.vault.claim(guest(id), key(1));
  vi.useFakeTimers({ toFake: ["Date", "performance"], now: 1_800_000_000_000 });
  try {
    const [lines, revision] = [(await made.audit()).length, await made.store.revision()];
    for (let count = 0; count < 50; count++) await made.vault.proves(guest(id), key(2));
    expect((await made.audit()).length - lines).toBe(1);
    expect((await made.store.revision()) - revision).toBe(1);
    vi.advanceTimersByTime(1_000);
    await made.vault.proves(guest(id), key(2));
    expect((await state(made, id)).alarms).toEqual([{ what: "wrong claim key", at: 1_800_000_001_000, count: 2 }]);
  } finally {
    vi.useRealTimers();
  }
});

describe("a receipt", () => {
  test("of what was disclosed is kept", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const revision = await fetched(made, id);
    expect(isSynced(await state(made, id))).toBe(false);
    await made.vault.receive(guest(id), revision, applied);
    const convergence = await state(made, id);
    expect(convergence).toMatchObject({ wanted: 1, disclosed: 1, applied: { counter: 1, outcome: "applied" } });
    expect(isSynced(convergence)).toBe(true);
    await made.set("db", "2");
    expect(isSynced(await state(made, id))).toBe(false);
  });

  test("of what failed, or was refused in part, is not in sync", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const revision = await fetched(made, id);
    await made.vault.receive(guest(id), revision, { ...applied, outcome: "failed" });
    expect(isSynced(await state(made, id))).toBe(false);
    await made.vault.receive(guest(id), revision, { ...applied, refused: [{ name: "db", reason: "no" }] });
    expect(isSynced(await state(made, id))).toBe(false);
  });

  test("of what was resolved and not disclosed is refused with an alarm", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const { manifest } = await made.vault.resolve(guest(id), id);
    expect(await refusal(made.vault.receive(guest(id), manifest.revision, applied))).toBe("invalid");
    const { applied: kept, alarms } = await state(made, id);
    expect(kept).toBeUndefined();
    expect(alarms.map(({ what }) => what)).toEqual(["receipt for a revision that was not disclosed"]);
  });

  test("of the future, another boot, another epoch or of nonsense is refused", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const revision = await fetched(made, id);
    const [epoch, generation] = revision.split(".");
    for (const said of [
      `${epoch}.${generation}.2`,
      `${epoch}.2.1`,
      `${"0".repeat(16)}.${generation}.1`,
      "nonsense",
      `${revision}.1`,
      "",
    ]) {
      expect(await refusal(made.vault.receive(guest(id), said, applied)), said).toBe("invalid");
    }
    await made.vault.receive(guest(id), revision, applied);
    await made.vault.newGeneration(host, id);
    expect(await refusal(made.vault.receive(guest(id), revision, applied))).toBe("invalid");
    expect((await state(made, id)).applied).toBeUndefined();
  });

  test("never takes what was applied back", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const first = await fetched(made, id);
    await made.set("db", "2");
    const second = await fetched(made, id);
    await made.vault.receive(guest(id), second, applied);
    await made.vault.receive(guest(id), first, { ...applied, outcome: "failed" });
    expect((await state(made, id)).applied).toMatchObject({ counter: 2, outcome: "applied" });
  });

  test("is stripped of all but printable ASCII, and capped", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const revision = await fetched(made, id);
    const nasty = "\u001b[2J\u001b]0;pwned\u0007\r\n\u202e\u0000\u009bé";
    const refused = Array.from({ length: 5_000 }, () => ({ name: nasty, reason: nasty + "x".repeat(5_000) }));
    const mount = nasty + "m".repeat(100);
    await made.vault.receive(guest(id), revision, { ...applied, refused, mount, agent: mount });
    const { applied: kept } = await state(made, id);
    expect(kept?.refused).toHaveLength(32);
    expect(kept?.refused.every(({ name, reason }) => name.length <= 100 && reason.length === 120)).toBe(true);
    expect([kept?.mount.length, kept?.agent.length]).toEqual([32, 32]);
    expect(JSON.stringify(kept)).toMatch(/^[ -~]*$/);
    expect(kept?.refused[0]?.name).toBe("?[2J?]0;pwned????????".slice(0, kept?.refused[0]?.name.length));
  });

  test("of one vm says nothing of another", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    const other = await made.vm("other", "db");
    const revision = await fetched(made, id);
    expect(await refusal(made.vault.receive(guest(other.id), revision, applied))).toBe("invalid");
    expect((await state(made, other.id)).applied).toBeUndefined();
  });
});

describe("a new boot", () => {
  test("counts only if the guest had begun something", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    await made.vault.newGeneration(host, id);
    expect((await state(made, id)).generation).toBe(1);
    await fetched(made, id);
    await made.vault.newGeneration(host, id);
    expect((await state(made, id)).generation).toBe(2);
  });

  test("voids claim, receipt and disclosure, and keeps the counter and the alarms", async ({ expect }) => {
    const { made, id } = await withVm();
    await using _ = made;
    await made.vault.claim(guest(id), key(1));
    await refusal(made.vault.claim(guest(id), key(2)));
    await made.vault.receive(guest(id), await fetched(made, id), applied);
    await made.vault.newGeneration(host, id);
    const convergence = await state(made, id);
    expect(convergence).toMatchObject({ generation: 2, wanted: 1, disclosed: 0, claimed: false });
    expect(convergence.applied).toBeUndefined();
    expect(convergence.alarms).toHaveLength(1);
  });
});

test("when a guest last asked is known", async ({ expect }) => {
  const { made, id } = await withVm();
  await using _ = made;
  expect((await state(made, id)).lastContact).toBeUndefined();
  const before = Date.now();
  await made.vault.resolve(guest(id), id);
  expect((await state(made, id)).lastContact).toBeGreaterThanOrEqual(before);
});

describe("a guest that does the same in a loop", () => {
  test("makes the audit grow only so far, and raises an alarm", async ({ expect }) => {
    await using made = await TestVault.open();
    const { id } = await made.vm("a");
    await made.set("db", "1");
    await made.vault.attach(admin, "a", [{ secret: "db", change: {} }]);
    const bundle = await made.vault.resolve(guest(id), id);
    const [db] = bundle.manifest.entries as [ManifestEntry];
    const times = (count: number): Promise<string> => refusal(bundle.disclose(Array.from({ length: count }, () => db)));
    // Its own, and a part of what is there for all; then more than all.
    expect(await times(16_384)).toBe("done");
    expect(await times(1_000)).toBe("done");
    expect(await times(1_048_576)).toBe("unavailable");
    expect((await made.audit()).filter(({ op }) => op === "secret.disclose")).toHaveLength(17_384);
    expect((await made.vault.convergence(admin, id)).alarms).toMatchObject([{ what: "too many requests" }]);
  });

  test("writes only so many receipts, and each of a newer revision", async ({ expect }) => {
    await using made = await TestVault.open();
    await made.set("db", "0");
    const { id } = await made.vm("a", "db");
    const receive = async (): Promise<string> => {
      const bundle = await made.vault.resolve(guest(id), id);
      await bundle.disclose(bundle.manifest.entries);
      return refusal(made.vault.receive(guest(id), bundle.manifest.revision, applied));
    };
    for (let round = 0; round < 40; round++) {
      await made.set("db", `${round}`);
      expect(await receive()).toBe("done");
    }
    const answers = [];
    for (let round = 0; round < 40; round++) answers.push(await receive());
    expect(answers[0]).toBe("done");
    expect(answers.at(-1)).toBe("unavailable");
  });
});
