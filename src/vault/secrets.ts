import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { mergeDelivery } from "#grant";
import { MAX_VALUE_SIZE, secretNameProblem } from "#protocol/names";
import { defaultDelivery, type Delivery, type Secret } from "#secret";
import type { SecretChange, SecretPut } from "#vault";
import type { Bundles } from "#vault/bundles";
import { checkDelivery } from "#vault/delivery";
import type { Gate } from "#vault/gate";
import type { GrantsRecord, HolderRecord, SecretRecord } from "#vault/records";
import { Rows, type Stored } from "#vault/rows";

/** Versions of a value that are kept, the newest included: who is being served an older one gets it whole. */
const KEPT_VERSIONS = 10;

/** What the vault does with secrets as such. */
export class Secrets {
  readonly #gate: Gate;
  readonly #rows: Rows;
  readonly #bundles: Bundles;

  constructor(gate: Gate, rows: Rows, bundles: Bundles) {
    this.#gate = gate;
    this.#rows = rows;
    this.#bundles = bundles;
  }

  async put(caller: Caller, name: string, how: "create" | "update" | "set", change: SecretChange): Promise<SecretPut> {
    checkSecretName(name);
    checkSize(name, change.value);
    return this.#gate.mutate(caller, `secret.${how}`, { secret: name }, async (commit) => {
      const key = this.#rows.secretKey(name);
      const stored = await this.#rows.get<SecretRecord>(key);
      if (stored && how === "create") {
        throw new HatchwayError("exists", `secret "${name}" exists already`, {
          hint: `change it with: hatchway secret update ${name}`,
        });
      }
      if (!stored && how === "update") throw unknownSecret(name);
      const record = nextRecord(name, stored?.record, change);
      checkDelivery(record, record.delivery);
      const holders = stored ? await this.#holders(record.id) : new Map<string, string>();
      for (const vmId of holders.keys()) await this.#bundles.checkWith(vmId, record);
      const put = [this.#rows.put(key, record, stored)];
      if (change.value) put.push(this.#rows.putValue(record.id, record.version, change.value));
      await commit({ put, delete: await this.#outdated(record, change.value !== undefined) });
      if (stored) await this.#announce(record.id);
      return { result: { secret: withoutInner(record), created: !stored }, subject: { version: record.version } };
    });
  }

  async remove(caller: Caller, name: string): Promise<{ vms: string[] }> {
    checkSecretName(name);
    const gone = await this.#gate.mutate(caller, "secret.remove", { secret: name }, async (commit) => {
      const stored = await this.find(name);
      const { id, version } = stored.record;
      const values = await this.#rows.keys(`value:${id}:`);
      await commit({ delete: [stored, ...values].map(({ key, version: written }) => ({ key, version: written })) });
      return { result: { id, holders: await this.#announce(id) }, subject: { version } };
    });
    // No grant of it is honoured any more; this is tidying.
    for (const vmId of gone.holders.keys()) await this.#forgetGrant(gone.id, vmId);
    return { vms: this.#visible(caller, gone.holders) };
  }

  async get(caller: Caller, name: string): Promise<Secret> {
    checkSecretName(name);
    return this.#gate.read(caller, "secret.read", { secret: name }, async () =>
      withoutInner((await this.find(name)).record),
    );
  }

  async all(caller: Caller): Promise<Secret[]> {
    return this.#gate.read(caller, "secret.list", {}, async () => {
      const records = (await this.#rows.list<SecretRecord>("secret:")).map(({ record }) => withoutInner(record));
      const his = records.filter(({ name }) => this.#gate.may(caller, "secret.read", { secret: name }));
      return his.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    });
  }

  async holders(caller: Caller, name: string): Promise<string[]> {
    checkSecretName(name);
    return this.#gate.read(caller, "secret.read", { secret: name }, async () => {
      const { record } = await this.find(name);
      return this.#visible(caller, await this.#holders(record.id));
    });
  }

  /** The names of the VMs that `caller` may see, sorted. */
  #visible(caller: Caller, holders: ReadonlyMap<string, string>): string[] {
    return [...holders.values()].filter((vm) => this.#gate.may(caller, "vm.read", { vm })).toSorted();
  }

  /** Throws "not-found", with the hint that ix gives too. */
  async find(name: string): Promise<Stored<SecretRecord>> {
    const stored = await this.#rows.get<SecretRecord>(this.#rows.secretKey(name));
    if (!stored) throw unknownSecret(name);
    return stored;
  }

  /** VM ids with their names, of the VMs whose grants have it. */
  async #holders(secretId: string): Promise<Map<string, string>> {
    const rows = await this.#rows.list<HolderRecord>(`holder:${secretId}:`);
    const vmIds = rows.map(({ key }) => key.slice(key.lastIndexOf(":") + 1));
    const grants = await this.#rows.getAll<GrantsRecord>(vmIds.map((vmId) => `grants:${vmId}`));
    const holders = new Map<string, string>();
    vmIds.forEach((vmId, at) => {
      const record = grants[at]?.record;
      if (record?.grants.some((grant) => grant.secretId === secretId)) holders.set(vmId, record.vmName);
    });
    return holders;
  }

  /**
   * Tells those who have the secret that it changed, and says who they are. They are looked up once the change is made:
   * a VM that was given the secret meanwhile may have been told of the version before.
   */
  async #announce(secretId: string): Promise<Map<string, string>> {
    try {
      const holders = await this.#holders(secretId);
      this.#bundles.changed([...holders.keys()]);
      return holders;
    } catch (error) {
      this.#bundles.changedAll();
      throw error;
    }
  }

  async #outdated(record: SecretRecord, newValue: boolean): Promise<{ key: string; version: number }[]> {
    const oldest = record.version - KEPT_VERSIONS;
    if (!newValue || oldest < 1) return [];
    const rows = await this.#rows.keys(Rows.valueKey(record.id, oldest));
    return rows.map(({ key, version }) => ({ key, version }));
  }

  /** Takes the grant of a removed secret out of a VM's record, whatever else changes it meanwhile. */
  async #forgetGrant(secretId: string, vmId: string): Promise<void> {
    await this.#gate.retry(async () => {
      const stored = await this.#rows.get<GrantsRecord>(`grants:${vmId}`);
      const holder = await this.#rows.get<HolderRecord>(`holder:${secretId}:${vmId}`);
      const left = stored?.record.grants.filter((grant) => grant.secretId !== secretId);
      await this.#gate.keep({
        ...(stored && left && { put: [this.#rows.put(stored.key, { ...stored.record, grants: left }, stored)] }),
        ...(holder && { delete: [{ key: holder.key, version: holder.version }] }),
      });
    });
  }
}

function nextRecord(name: string, before: SecretRecord | undefined, change: SecretChange): SecretRecord {
  const now = Date.now();
  const delivery: Delivery = mergeDelivery(before?.delivery ?? defaultDelivery, change.delivery ?? {});
  if (!change.value) {
    if (!before) {
      throw new HatchwayError("invalid", `secret "${name}" has no value yet`, { hint: "give it one on stdin" });
    }
    return { ...before, delivery, modifiedAt: now };
  }
  return {
    id: before?.id ?? Rows.newId(),
    name,
    version: (before?.version ?? 0) + 1,
    size: change.value.length,
    valueAt: now,
    hasNul: change.value.includes(0),
    delivery,
    createdAt: before?.createdAt ?? now,
    modifiedAt: now,
  };
}

/** What may be seen of a record outside the vault. */
export function withoutInner({ id, name, version, size, delivery, createdAt, modifiedAt }: SecretRecord): Secret {
  return { id, name, version, size, delivery, createdAt, modifiedAt };
}

export function checkSecretName(name: string): void {
  const problem = secretNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name.slice(0, 120)}" ${problem}`);
}

function checkSize(name: string, value: Buffer | undefined): void {
  if (value && value.length > MAX_VALUE_SIZE) {
    throw new HatchwayError(
      "too-large",
      `the value of secret "${name}" has ${value.length} bytes, more than ${MAX_VALUE_SIZE} (1 MiB)`,
    );
  }
}

export function unknownSecret(name: string): HatchwayError {
  return new HatchwayError("not-found", `there is no secret "${name}"`, {
    hint: `set it with: hatchway secret set ${name}`,
  });
}
