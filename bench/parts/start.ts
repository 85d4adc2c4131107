// The daemon starts over a store that is full: from the start of the command to its first answer, and its memory then.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openSqliteStore } from "#store/sqlite";
import type { Caller } from "#caller";
import type { Vault } from "#vault";
import { openVault } from "#vault/open";
import { BenchDaemon } from "#bench/daemon";
import type { Contest, Figures, Part, Scale } from "#bench/measure";

const SECRETS = 100_000;
/** Of each VM, so that the grants are five for each secret. */
const GRANTS = 4_000;
const VMS = 125;
/** Writes at a time, so that they share their syncs. */
const TOGETHER = 128;
const FULL = "start, full store";

export const start: Part = {
  name: "start",
  about: `${SECRETS.toLocaleString("en")} secrets and ${(GRANTS * VMS).toLocaleString("en")} grants in the store`,
  async open({ size }: Scale): Promise<Contest> {
    await using opened = new AsyncDisposableStack();
    const empty = opened.use(await BenchDaemon.open());
    const full = opened.use(await BenchDaemon.open());
    await full.stop();
    await fill(full, size);
    const whileOpen = opened.move();
    return {
      contestants: [
        { what: "start, empty store", turn: () => started(empty) },
        {
          what: FULL,
          turn: () => started(full),
          against: ["start, empty store"],
          bars: { ms: 500, MB: 120 },
        },
      ],
      [Symbol.asyncDispose]: () => whileOpen.disposeAsync(),
    };
  },
};

async function started(daemon: BenchDaemon): Promise<Figures> {
  await daemon.stop();
  const begun = performance.now();
  await daemon.start();
  await daemon.tell("GET", "/whoami");
  const ms = performance.now() - begun;
  const resident = /^VmRSS:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${daemon.pid}/status`, "utf8"))?.[1];
  return { ms, MB: Number(resident) / 1024 };
}

/** Fills the store of a daemon that does not run, through the vault, as it would itself. */
async function fill(daemon: BenchDaemon, size: number): Promise<void> {
  const places = {
    keyFile: daemon.keyFile,
    keyring: join(daemon.state, "keyring.json"),
    audit: join(daemon.state, "audit.jsonl"),
  };
  const store = await openSqliteStore(join(daemon.state, "store.db"), { create: false });
  const vault = await openVault(store, places, { mode: "session", uid: process.getuid?.() ?? 0 });
  const caller: Caller = { kind: "embedded", uid: 0, purpose: "benchmark" };
  const names = Array.from({ length: Math.round(SECRETS * size) }, (_, at) => `secret-${at}`);
  await together(names, (name) => vault.putSecret(caller, name, "create", { value: Buffer.from(name) }));
  const vms = Array.from({ length: Math.max(1, Math.round(VMS * size)) }, (_, at) => at);
  for (const at of vms) await makeVm(vault, caller, at, names);
  await vault.close();
}

async function makeVm(vault: Vault, caller: Caller, at: number, names: readonly string[]): Promise<void> {
  const given = Array.from(
    { length: Math.min(GRANTS, names.length) },
    (_, nth) => names[(at * GRANTS + nth) % names.length],
  );
  const grants = given.map((secret = "") => ({ secret, change: {} }));
  const runner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  await vault.createVm(caller, { name: `vm-${at}`, runner, grants });
}

async function together<T>(all: readonly T[], act: (one: T) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < all.length; at = next++) await act(all[at] as T);
  };
  await Promise.all(Array.from({ length: TOGETHER }, worker));
}
