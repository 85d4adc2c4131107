import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, test, vi } from "vitest";
import type { Caller } from "#caller";
import { openMemoryStore } from "#store/memory";
import type { Vault } from "#vault";
import { createKeyring } from "#vault/keyring";
import type { VaultPlaces } from "#vault/open";
import { SealableVault } from "#vault/sealable";
import { admin, auditLines, guest, refusal } from "#test/kit/vault";

interface Made {
  lid: SealableVault;
  vault: Vault;
  places: VaultPlaces;
  log: string[];
  /** How often it was said that the keys are open again. */
  openings: () => number;
}

const PASSPHRASE = Buffer.from("correct horse battery");

async function made(how: { passphraseOnly?: true; sealed?: true } = {}): Promise<Made> {
  const folder = await mkdtemp(join(tmpdir(), "hatchway-sealable-"));
  const places = {
    keyring: join(folder, "keyring.json"),
    keyFile: join(folder, "root.key"),
    audit: join(folder, "audit"),
  };
  const way = how.passphraseOnly
    ? { kind: "passphrase" as const, passphrase: PASSPHRASE }
    : { kind: "key-file" as const };
  (await createKeyring(places.keyring, places, way))[Symbol.dispose]();
  const log: string[] = [];
  let openings = 0;
  const lid = await SealableVault.open(
    openMemoryStore({}),
    places,
    { mode: "session", uid: 1000 },
    {
      ...(how.sealed && { sealed: true }),
      report: (line) => void log.push(line),
      unsealed: async () => void openings++,
    },
  );
  onTestFinished(async () => {
    await lid.vault.close();
    await rm(folder, { recursive: true });
  });
  return { lid, vault: lid.vault, places, log, openings: () => openings };
}

async function lines({ places }: Made): Promise<string[]> {
  const all = auditLines(await readFile(places.audit, "utf8"));
  return all.map(
    ({ op, phase, outcome, way }) => `${phase} ${op} ${outcome ?? ""}${way === undefined ? "" : ` ${way}`}`,
  );
}

const set = (vault: Vault, name: string, value: string): Promise<unknown> =>
  vault.putSecret(admin, name, "set", { value: Buffer.from(value) });

async function seen(vault: Vault, vmId: string, name: string): Promise<string> {
  const bundle = await vault.resolve(guest(vmId), vmId);
  const entry = bundle.manifest.entries.find((one) => one.name === name);
  if (!entry) throw new Error(`the vm has no ${name}`);
  return (await (await bundle.disclose([entry]))(entry)).toString();
}

test("sealed, everything is refused; unsealed, it is as it was, and both are in the trail", async ({ expect }) => {
  const home = await made();
  const { lid, vault } = home;
  await set(vault, "db", "value");
  const vm = await vault.createVm(admin, {
    name: "web",
    runner: { uid: 1, gid: 1 },
    grants: [{ secret: "db", change: {} }],
  });
  const woken: (string | undefined)[] = [];
  vault.watch((vmId) => void woken.push(vmId));

  await lid.seal(admin);
  expect(lid.isSealed).toBe(true);
  expect(woken, "whoever waits is woken").toEqual([undefined]);
  const asked = {
    secrets: vault.secrets(admin),
    set: set(vault, "db", "other"),
    resolve: vault.resolve(guest(vm.id), vm.id),
    claim: vault.claim(guest(vm.id), Buffer.alloc(32)),
    rotate: vault.keys.rotate(admin),
    audit: vault.trail.verify(admin),
    whoami: vault.whoami(admin),
    logs: vault.allow(admin, "daemon.logs"),
    seal: lid.seal(admin),
  };
  for (const [what, answer] of Object.entries(asked)) expect(await refusal(answer), what).toBe("sealed");
  await expect(vault.secrets(admin)).rejects.toMatchObject({ hint: "open them with: hatchway key unseal" });
  expect(await lid.status(admin)).toMatchObject({ sealed: true, current: 1, ways: [{ name: "key-file" }] });

  expect(await lid.unseal(admin, undefined)).toEqual({ way: "key-file" });
  expect(await refusal(lid.unseal(admin, undefined))).toBe("conflict");
  expect(home.openings()).toBe(1);
  expect(await seen(vault, vm.id, "db")).toBe("value");
  expect(await vault.keys.status(admin)).toMatchObject({ sealed: false, openedBy: "key-file" });
  expect((await lines(home)).filter((line) => line.includes("key."))).toEqual([
    "intent key.seal ",
    "outcome key.seal ok",
    "intent key.unseal  key-file",
    "outcome key.unseal ok key-file",
  ]);
  await vault.trail.verify(admin);
});

test("what is under way when it is sealed is done whole or not at all", async ({ expect }) => {
  const { lid, vault } = await made();
  const names = Array.from({ length: 60 }, (_, number) => `s${number}`);
  const put = names.map((name) => refusal(set(vault, name, `value of ${name}`)));
  const [, ...outcomes] = await Promise.all([lid.seal(admin), ...put]);
  expect(new Set(outcomes).difference(new Set(["done", "sealed"]))).toEqual(new Set());
  await lid.unseal(admin, undefined);
  const kept = names.filter((_, at) => outcomes[at] === "done");
  expect((await vault.secrets(admin)).map(({ name }) => name)).toEqual(kept.toSorted());
  const grants = kept.map((secret) => ({ secret, change: {} }));
  const vm = await vault.createVm(admin, { name: "web", runner: { uid: 1, gid: 1 }, grants });
  for (const name of kept) expect(await seen(vault, vm.id, name)).toBe(`value of ${name}`);
});

test("a boot that was seen while it was sealed voids the claim before anybody is heard", async ({ expect }) => {
  const { lid, vault } = await made();
  const vm = await vault.createVm(admin, { name: "web", runner: { uid: 1, gid: 1 }, grants: [] });
  await vault.claim(guest(vm.id), Buffer.alloc(32, 1));
  await lid.seal(admin);
  await vault.newGeneration({ kind: "embedded", uid: 1000, purpose: "test" }, vm.id);
  await lid.unseal(admin, undefined);
  await vault.claim(guest(vm.id), Buffer.alloc(32, 2));
  expect(await vault.proves(guest(vm.id), Buffer.alloc(32, 1))).toBe(false);
});

test("it opens by what is brought, and nothing else opens it", async ({ expect }) => {
  const home = await made();
  const { lid, vault, places } = home;
  await vault.keys.addWay(admin, "paper", { kind: "passphrase", passphrase: PASSPHRASE });
  const key = await readFile(places.keyFile);
  await lid.seal(admin);
  await rm(places.keyFile);
  await expect(lid.unseal(admin, undefined)).rejects.toMatchObject({
    code: "wrong-key",
    hint: "bring what opens them: --passphrase, --identity FILE or --key-file FILE",
  });
  expect(await refusal(lid.unseal(admin, { kind: "age", secret: Buffer.from("AGE") })), "no such way").toBe("invalid");
  expect(await lid.unseal(admin, { kind: "passphrase", secret: PASSPHRASE })).toEqual({ way: "paper" });
  await lid.seal(admin);
  expect(await lid.unseal(admin, { kind: "key-file", secret: key })).toEqual({ way: "key-file" });
  expect(
    key.some((byte) => byte !== 0),
    "stays whose it is",
  ).toBe(true);
  expect((await lines(home)).filter((line) => /key.unseal (?!ok)/.test(line) && line.startsWith("outcome"))).toEqual([
    "outcome key.unseal wrong-key",
    "outcome key.unseal invalid",
  ]);
});

test("who guesses has to wait, and each guess is in the log and, later, in the trail", async ({ expect }) => {
  const home = await made({ passphraseOnly: true });
  const { lid, log } = home;
  expect(lid.isSealed, "nobody can be asked").toBe(true);
  const wrong = { kind: "passphrase" as const, secret: Buffer.from("wrong horse battery") };
  expect(await refusal(lid.unseal(admin, wrong))).toBe("wrong-key");
  expect(await refusal(lid.unseal(admin, wrong))).toBe("rate-limited");
  expect(await refusal(lid.unseal(admin, { kind: "passphrase", secret: PASSPHRASE }))).toBe("rate-limited");
  expect(log).toEqual([
    "key.unseal of unix:uid=1000,gid=1000,pid=42 while the keys are sealed: the passphrase does not open the keyring",
  ]);
  const root: Caller = { kind: "unix", uid: 0, gid: 0, pid: 1 };
  expect(await lid.unseal(root, { kind: "passphrase", secret: PASSPHRASE })).toEqual({ way: "passphrase" });
  expect((await lines(home)).slice(0, 2)).toEqual(["outcome key.unseal wrong-key", "intent key.unseal  passphrase"]);
});

test("starts sealed where it is asked to, and only over keys that there are", async ({ expect }) => {
  const { lid, places } = await made({ sealed: true });
  expect(lid.isSealed).toBe(true);
  await lid.unseal(admin, undefined);
  const none = { ...places, keyring: `${places.keyring}.none` };
  const options = { sealed: true, report: () => undefined, unsealed: async () => undefined };
  const opening = SealableVault.open(openMemoryStore({}), none, { mode: "session", uid: 1000 }, options);
  await expect(opening).rejects.toMatchObject({ code: "invalid", hint: "make them with: hatchway key init" });
});

test("is sealed and opened by who administrates all, and opened over the socket only", async ({ expect }) => {
  const { lid, vault } = await made();
  const stranger: Caller = { kind: "unix", uid: 1001, gid: 1001, pid: 7 };
  const token: Caller = { kind: "token", id: "ci" };
  expect(await refusal(lid.seal(stranger))).toBe("forbidden");
  expect(await refusal(vault.secrets(admin))).toBe("done");
  expect(await refusal(lid.seal(token))).toBe("done");
  for (const caller of [stranger, token]) expect(await refusal(lid.unseal(caller, undefined))).toBe("forbidden");
  expect(await refusal(vault.allow(token, "admin.enter"))).toBe("done");
  expect(await refusal(vault.allow({ kind: "stranger", address: "::1" }, "admin.enter"))).toBe("unauthenticated");
  await lid.unseal(admin, undefined);
});

test("says in the log that the host's clock went back, also over a seal", async ({ expect }) => {
  const noon = Date.UTC(2026, 0, 31, 12);
  vi.useFakeTimers({ toFake: ["Date"], now: noon });
  try {
    const { lid, vault, log } = await made();
    await set(vault, "db", "value");
    await lid.seal(admin);
    vi.setSystemTime(noon - 60_000);
    await lid.unseal(admin, undefined);
    expect(log).toContain(
      "the host's clock went back by 60 s: what is written says 2026-01-31T12:00:00.000Z till then",
    );
  } finally {
    vi.useRealTimers();
  }
});

test("stays sealed over a trail that was edited meanwhile", async ({ expect }) => {
  const { lid, vault, places } = await made();
  await set(vault, "db", "value");
  await lid.seal(admin);
  const text = await readFile(places.audit, "utf8");
  await writeFile(places.audit, text.replace('"secret":"db"', '"secret":"dc"'));
  expect(await refusal(lid.unseal(admin, undefined))).toBe("corrupt");
  expect(lid.isSealed).toBe(true);
});
