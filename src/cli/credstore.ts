// credstore sync: the secrets of this host's own units, encrypted by systemd-creds(1), in the folder where systemd looks.
import { chmod, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { GrantBody } from "#api-vm";
import type { Client } from "#client/client";
import { refuseReservedCredential } from "#credential";
import { HatchwayError } from "#error";
import { privateDirectory } from "#host/files";
import { PidFile } from "#host/pid-file";
import { BundleReader } from "#protocol/bundle";
import { valueBuffer } from "#value-buffer";
import { CredstoreLedger } from "./credstore-ledger.ts";
import type { Session } from "./session.ts";
import { sealCredential } from "./systemd-creds.ts";
import { formatTable } from "./table.ts";

export interface SyncFlags {
  vm?: string;
  dir?: string;
  withKey?: string;
  allowReserved?: true;
  dryRun?: true;
}

interface Step {
  name: string;
  /** Of the secret, as the VM is to have it; absent for one that goes. */
  grant?: GrantBody;
  what: "encrypt" | "keep" | "remove" | "leave";
}

const COLUMNS = ["CREDENTIAL", "VERSION", "DONE"].map((title) => ({ title }));
const DONE: Record<Step["what"], string> = {
  encrypt: "encrypted",
  keep: "as it was",
  remove: "removed",
  leave: "left: somebody else has changed it",
};

export async function syncCredstore(
  session: Session,
  _operands: readonly string[],
  flags: SyncFlags,
): Promise<undefined> {
  const vm = flags.vm ?? "host";
  const folder = resolve(flags.dir ?? "/etc/credstore.encrypted");
  const grants = await grantsOf(session.client, vm);
  if (flags.allowReserved !== true) for (const { name } of grants) refuseReservedCredential(name);
  await privateDirectory(folder);
  await using opened = new AsyncDisposableStack();
  opened.use(await PidFile.take(join(folder, ".hatchway.lock"), `"${folder}"`));
  const ledger = await CredstoreLedger.read(folder);
  const steps = await plan(ledger, grants, folder);
  if (flags.dryRun !== true) await perform(session.client, { vm, folder, withKey: flags.withKey }, ledger, steps);
  const done = steps.map(({ name, grant, what }) => ({
    credential: name,
    ...(grant && { version: grant.version }),
    what,
  }));
  session.report({ vm, folder, dry_run: flags.dryRun === true, credentials: done }, () =>
    steps.length === 0
      ? `vm "${vm}" has no secrets, and "${folder}" none of hatchway's`
      : formatTable(
          COLUMNS,
          steps.map(({ name, grant, what }) => [name, grant ? String(grant.version) : "", wordsOf(what, flags)]),
        ),
  );
}

function wordsOf(what: Step["what"], { dryRun }: SyncFlags): string {
  return dryRun === true && (what === "encrypt" || what === "remove") ? `would be ${DONE[what]}` : DONE[what];
}

async function grantsOf(client: Client, vm: string): Promise<GrantBody[]> {
  try {
    return await client.grants(vm);
  } catch (error) {
    if (!(error instanceof HatchwayError) || error.code !== "not-found") throw error;
    throw new HatchwayError("not-found", `there is no vm "${vm}", which would stand for this host`, {
      hint: `make it with: hatchway vm create ${vm} --external --runner root`,
      cause: error,
    });
  }
}

/** Throws "exists" where a file is in the way that is not ours; nothing is done then. */
async function plan(ledger: CredstoreLedger, grants: readonly GrantBody[], folder: string): Promise<Step[]> {
  const steps: Step[] = [];
  for (const grant of grants) {
    const { name } = grant;
    const owner = await ledger.owner(name);
    if (owner === "another's") {
      throw new HatchwayError("exists", `"${join(folder, name)}" is there, and hatchway has not written it so`, {
        hint: "move it away, or detach the secret of that name",
      });
    }
    const held = ledger.held(name);
    const isHeld =
      held?.version === grant.version && held.attached_at === grant.attached_at && held.before === undefined;
    steps.push({ name, grant, what: owner === "ours" && isHeld ? "keep" : "encrypt" });
  }
  const wanted = new Set(grants.map(({ name }) => name));
  for (const name of ledger.names.filter((one) => !wanted.has(one))) {
    steps.push({ name, what: (await ledger.owner(name)) === "another's" ? "leave" : "remove" });
  }
  return steps;
}

interface Place {
  vm: string;
  folder: string;
  withKey: string | undefined;
}

/** What is attached no more goes first, whatever becomes of the rest. */
async function perform(client: Client, place: Place, ledger: CredstoreLedger, steps: readonly Step[]): Promise<void> {
  const gone = steps.filter(({ grant }) => !grant).map(({ name }) => name);
  if (gone.length > 0) await ledger.remove(gone);
  const wanted = steps.flatMap(({ what, grant }) => (what === "encrypt" && grant ? [grant] : []));
  if (wanted.length === 0) return;
  const drafts = wanted.map(({ name }) => join(place.folder, `.${name}.next`));
  using values = await valuesOf(client, place.vm);
  try {
    const sealed = [];
    for (const [at, { name, version, attached_at }] of wanted.entries()) {
      const draft = drafts[at] ?? "";
      await sealCredential(name, values.take(name, version), draft, place.withKey);
      await chmod(draft, 0o600);
      sealed.push({ name, draft, held: { version, attached_at } });
    }
    await ledger.replace(sealed);
  } finally {
    for (const draft of drafts) await rm(draft, { force: true });
  }
}

interface Values extends Disposable {
  take(name: string, version: number): Buffer;
}

/** The VM's bundle, opened and audited as an export; wiped when it is disposed of. */
async function valuesOf(client: Client, vm: string): Promise<Values> {
  const values = new Map<string, { version: number; value: Buffer; at: number }>();
  let current: { value: Buffer; at: number } | undefined;
  const wipe = (): void => {
    for (const { value } of values.values()) value.fill(0);
  };
  const reader = new BundleReader({
    manifest: () => undefined,
    entry({ name, version, size }) {
      const held = { version, value: valueBuffer(size), at: 0 };
      values.set(name, held);
      current = held;
    },
    data(bytes) {
      if (!current) return;
      current.value.set(bytes, current.at);
      current.at += bytes.length;
    },
    endEntry: () => undefined,
  });
  try {
    await client.buildImage(vm, { format: "tar" }, (piece) => reader.push(piece));
    reader.end();
  } catch (error) {
    wipe();
    throw error;
  }
  return {
    take(name, version) {
      const found = values.get(name);
      if (found?.version === version) return found.value;
      throw new HatchwayError("conflict", `secret "${name}" was changed meanwhile`, { hint: "sync again" });
    },
    [Symbol.dispose]: wipe,
  };
}
