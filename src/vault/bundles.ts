import { createHash } from "node:crypto";
import type { Bundle } from "#bundle";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { mergeDelivery, type Grant } from "#grant";
import { checkEntries, encodeManifest, type Manifest, type ManifestEntry } from "#protocol/manifest";
import { DEFAULT_MOUNT_ROOT } from "#protocol/names";
import type { Subject } from "#vault/authorise";
import { checkDelivery, manifestEntry } from "#vault/delivery";
import type { Disclosure, Gate } from "#vault/gate";
import type { Ledgers } from "#vault/ledgers";
import type { GrantsRecord, LedgerRecord, RenamedRecord, SecretRecord } from "#vault/records";
import { Rows } from "#vault/rows";
import { atVersion, versionsOf } from "#vault/secret-record";

/** Grants with what they give, in the order of the secrets' names: four lists of one length. */
interface Granted {
  grants: Grant[];
  /** As the VM has them: of a pinned one, the pinned version. */
  secrets: SecretRecord[];
  entries: ManifestEntry[];
  /** The secrets' newest versions. */
  newest: number[];
}

/** A VM's entries as the rows say them now, each with its secret. */
interface Resolved extends Granted {
  vmName: string;
}

/** A VM's bundle, whoever asks for it. */
interface Resolution extends Resolved {
  vmId: string;
  manifest: Manifest;
  ledger: LedgerRecord;
}

/** VMs whose bundle is kept ready, at most. */
const CACHED = 10_000;

/** Resolves what a VM is to have, in one place for every channel, and says when that may have changed. */
export class Bundles {
  readonly #gate: Gate;
  readonly #rows: Rows;
  readonly #ledgers: Ledgers;
  readonly #cache = new Map<string, Resolution>();
  readonly #listeners = new Set<(vmId: string | undefined) => void>();
  /** Counts changes, so that what was read before one is not kept after it. */
  #changes = 0;

  constructor(gate: Gate, rows: Rows, ledgers: Ledgers) {
    this.#gate = gate;
    this.#rows = rows;
    this.#ledgers = ledgers;
  }

  watch(listener: (vmId: string | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What these VMs are to have may be different from now on. */
  changed(vmIds: readonly string[]): void {
    this.#changes++;
    for (const vmId of vmIds) {
      this.#cache.delete(vmId);
      for (const listener of this.#listeners) listener(vmId);
    }
  }

  /** Anything may be different from now on. */
  changedAll(): void {
    this.#changes++;
    this.#cache.clear();
    for (const listener of this.#listeners) listener(undefined);
  }

  /** Refuses what would not fit together in one VM. */
  check(vmName: string, entries: readonly ManifestEntry[]): void {
    try {
      checkEntries(entries);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : "a rule is broken";
      throw new HatchwayError("invalid", `cannot give this to vm "${vmName}": ${reason}`, { cause });
    }
  }

  /** Refuses a changed secret that would not fit together with what else a VM has. */
  async checkWith(vmId: string, changed: SecretRecord): Promise<void> {
    const read = await this.#read(vmId, changed);
    if (!read) return;
    const { vmName, entries, grants } = read;
    const grant = grants.find(({ secretId }) => secretId === changed.id);
    if (grant) checkDelivery(atVersion(changed, grant.pin), mergeDelivery(changed.delivery, grant.change));
    this.check(vmName, entries);
  }

  /** A VM with its name, which roles go by; a guest and a runner are bound to the id. */
  async subject(caller: Caller, vmId: string): Promise<Subject> {
    if (caller.kind === "vm" || caller.kind === "runner") return { vmId };
    const stored = await this.#rows.get<GrantsRecord>(`grants:${vmId}`);
    return { vmId, ...(stored && { vm: stored.record.vmName }) };
  }

  async resolve(caller: Caller, vmId: string): Promise<Bundle> {
    return this.#gate.read(caller, "bundle.resolve", await this.subject(caller, vmId), async () => {
      const resolution = this.#cache.get(vmId) ?? (await this.#resolve(vmId));
      return this.#bundle(resolution, (entries) =>
        this.#disclose(caller, "secret.disclose", { vmId }, resolution, entries),
      );
    });
  }

  /** The same for a person, who needs a right to the VM and to each secret that it has. */
  async export(caller: Caller, vmId: string): Promise<Bundle> {
    const vm = await this.subject(caller, vmId);
    return this.#gate.read(caller, "bundle.export", vm, async () => {
      const resolution = this.#cache.get(vmId) ?? (await this.#resolve(vmId));
      const all: Subject = { ...vm, secrets: resolution.entries.map(({ name }) => name) };
      return this.#gate.read(caller, "bundle.export", all, async () =>
        this.#bundle(resolution, (entries) => this.#disclose(caller, "bundle.export", all, resolution, entries)),
      );
    });
  }

  #bundle(resolution: Resolution, disclose: Bundle["disclose"]): Bundle {
    const { manifest, ledger, secrets } = resolution;
    return {
      manifest,
      counter: ledger.counter,
      times: secrets.map(({ valueAt }) => Math.floor(valueAt / 1000)),
      changedSince: (revision) => this.#changedSince(revision, resolution),
      disclose,
    };
  }

  async #resolve(vmId: string): Promise<Resolution> {
    const before = this.#changes;
    const resolved = await this.#read(vmId);
    if (!resolved) throw new HatchwayError("not-found", "there is no such vm any more");
    const { vmName, entries, secrets } = resolved;
    const manifest: Manifest = { format: 1, vm: vmName, revision: "", mountRoot: DEFAULT_MOUNT_ROOT, entries };
    const digest = createHash("sha256").update(encodeManifest(manifest)).digest("hex");
    const ledger = await this.#ledgers.update(vmId, (record) =>
      record.digest === digest ? undefined : nextLedger(record, digest, secrets),
    );
    manifest.revision = this.#ledgers.encodeRevision(ledger);
    const resolution = { ...resolved, vmId, manifest, ledger };
    if (before === this.#changes) this.#keep(vmId, resolution);
    return resolution;
  }

  #keep(vmId: string, resolution: Resolution): void {
    this.#cache.set(vmId, resolution);
    if (this.#cache.size <= CACHED) return;
    for (const oldest of this.#cache.keys()) {
      this.#cache.delete(oldest);
      break;
    }
  }

  /** `changed` stands in for the secret of its id. Undefined when the VM is gone. */
  async #read(vmId: string, changed?: SecretRecord): Promise<Resolved | undefined> {
    const stored = await this.#rows.get<GrantsRecord>(`grants:${vmId}`);
    if (!stored) return undefined;
    const { vmName, grants } = stored.record;
    return { vmName, ...(await this.secretsOf(grants, changed)) };
  }

  /** What the grants give; one of a secret that is gone gives nothing. `changed` stands in for the secret of its id. */
  async secretsOf(grants: readonly Grant[], changed?: SecretRecord): Promise<Granted> {
    const found = await this.#secretsById(grants);
    if (changed) found.set(changed.id, changed);
    const there = grants.flatMap((grant) => {
      const secret = found.get(grant.secretId);
      return secret ? [{ grant, secret: atVersion(secret, grant.pin), newest: secret.version }] : [];
    });
    const sorted = there.toSorted((a, b) => (a.secret.name < b.secret.name ? -1 : 1));
    return {
      grants: sorted.map(({ grant }) => grant),
      secrets: sorted.map(({ secret }) => secret),
      entries: sorted.map(({ grant, secret }) => manifestEntry(secret, grant)),
      newest: sorted.map(({ newest }) => newest),
    };
  }

  /** By the names that the grants say, and by the newer ones of those that were renamed. */
  async #secretsById(grants: readonly Grant[]): Promise<Map<string, SecretRecord>> {
    const found = new Map<string, SecretRecord>();
    const look = async (names: readonly string[]): Promise<void> => {
      const rows = await this.#rows.getAll<SecretRecord>(names.map((name) => this.#rows.secretKey(name)));
      for (const row of rows) if (row) found.set(row.record.id, row.record);
    };
    await look(grants.map(({ secretName }) => secretName));
    const lost = grants.filter(({ secretId }) => !found.has(secretId));
    const renamed = await this.#rows.getAll<RenamedRecord>(lost.map(({ secretId }) => Rows.renamedKey(secretId)));
    await look(renamed.flatMap((row) => (row ? [row.record.name] : [])));
    return found;
  }

  #changedSince(revision: string | undefined, { ledger, secrets, entries }: Resolution): ManifestEntry[] {
    const have = revision === undefined ? undefined : this.#ledgers.decodeRevision(revision);
    if (have?.generation !== ledger.generation || have.counter > ledger.counter) return entries;
    return entries.filter((_, at) => (ledger.entries[secrets[at]?.id ?? ""]?.since ?? Infinity) > have.counter);
  }

  async #disclose(
    caller: Caller,
    operation: Disclosure,
    about: Subject,
    resolution: Resolution,
    leaving: readonly ManifestEntry[],
  ): Promise<(entry: ManifestEntry) => Promise<Buffer>> {
    const { vmId, vmName, ledger, secrets, entries } = resolution;
    const subjects = leaving.map(({ name, version }) => ({ secret: name, version, vm: vmName }));
    await this.#ledgers.allowDisclosure(vmId, leaving.length);
    await this.#gate.disclose(caller, operation, about, subjects);
    if (caller.kind === "vm") await this.#ledgers.disclosed(vmId, ledger.generation, ledger.counter);
    const secretOf = new Map(entries.map((entry, at) => [entry, secrets[at]]));
    const allowed = new Set(leaving);
    return async (entry) => {
      const secret = secretOf.get(entry);
      if (!secret || !allowed.has(entry)) throw new HatchwayError("internal", "an entry that was not disclosed");
      const value = await this.#value(secret);
      try {
        if (value.length !== entry.size) {
          throw new HatchwayError("corrupt", `the value of secret "${entry.name}" is not as long as its record says`);
        }
        await this.#checkGranted(secret, resolution);
        return value;
      } catch (error) {
        value.fill(0);
        throw error;
      }
    };
  }

  /** A slow reader takes its time: what was taken back meanwhile, and acknowledged, leaves no more. */
  async #checkGranted(secret: SecretRecord, asked: Resolution): Promise<void> {
    const { vmId } = asked;
    const now = this.#cache.get(vmId) ?? (await this.#resolve(vmId));
    if (now === asked || now.secrets.some(({ id }) => id === secret.id)) return;
    throw new HatchwayError("conflict", `secret "${secret.name}" was taken back while it was on its way`);
  }

  /** Who is slow may ask for a value that is gone by now; it is missing only if its secret still says that it is kept. */
  async #value(secret: SecretRecord): Promise<Buffer> {
    const value = await this.#rows.value(secret.id, secret.version);
    if (value) return value;
    const now = await this.#rows.get<SecretRecord>(this.#rows.secretKey(secret.name));
    const kept = now?.record.id === secret.id ? versionsOf(now.record) : [];
    if (kept.some(({ version }) => version === secret.version)) {
      throw new HatchwayError("corrupt", `version ${secret.version} of secret "${secret.name}" is not in the store`);
    }
    throw new HatchwayError("conflict", `secret "${secret.name}" changed while it was on its way`);
  }
}

/** The ledger once the bundle differs: a new counter, which is also when its new versions came. */
function nextLedger(record: LedgerRecord, digest: string, secrets: readonly SecretRecord[]): LedgerRecord {
  const counter = record.counter + 1;
  const entries: LedgerRecord["entries"] = {};
  for (const { id, name, version } of secrets) {
    const before = record.entries[id];
    const same = before?.version === version && (before.name ?? name) === name;
    // A guest knows what it has by name, so a secret that was renamed is sent again.
    entries[id] = { version, name, since: same ? before.since : counter };
  }
  return { ...record, counter, digest, entries };
}
