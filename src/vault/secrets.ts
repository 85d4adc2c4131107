import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import type { Mirror, MirrorChange } from "#mirror";
import type { Secret, SecretVersion } from "#secret";
import type { SecretChange, SecretPut } from "#vault";
import type { Bundles } from "#vault/bundles";
import type { Subject } from "#vault/authorise";
import type { Gate, Writes } from "#vault/gate";
import type { GrantsRecord, HolderRecord, RenamedRecord, SecretRecord } from "#vault/records";
import { Rows, type Stored } from "#vault/rows";
import { checkSecretName, checkSize, nextRecord, unknownSecret, versionsOf, withoutInner } from "#vault/secret-record";

/** Rows of values that go with the commit that removes their secret; more are removed after it. */
const TOGETHER = 100;

/** A VM whose grants have a secret. */
interface Holder {
  vmName: string;
  /** The version that it keeps, if it keeps one. */
  pin?: number;
}

/** What the vault does with secrets as such. */
export class Secrets {
  readonly #gate: Gate;
  readonly #rows: Rows;
  readonly #bundles: Bundles;
  readonly #mirror: Mirror | undefined;

  constructor(gate: Gate, rows: Rows, bundles: Bundles, mirror?: Mirror) {
    this.#gate = gate;
    this.#rows = rows;
    this.#bundles = bundles;
    this.#mirror = mirror;
  }

  async put(caller: Caller, name: string, how: "create" | "update" | "set", change: SecretChange): Promise<SecretPut> {
    checkSecretName(name);
    checkSize(name, change.value);
    // A default goes to VMs of any name.
    const subject = { secret: name, ...(change.about?.default === true && { everyVm: true }) };
    return this.#gate.mutate(caller, `secret.${how}`, subject, async (commit) => {
      const stored = await this.#rows.get<SecretRecord>(this.#rows.secretKey(name));
      if (stored && how === "create") {
        throw new HatchwayError("exists", `secret "${name}" exists already`, {
          hint: `change it with: hatchway secret update ${name}`,
        });
      }
      if (!stored && how === "update") throw unknownSecret(name);
      return this.#write(caller, commit, name, stored, change);
    });
  }

  /** Makes a new version of the value that version `to` has; of the one before the newest, where that is undefined. */
  async rollback(caller: Caller, name: string, to: number | undefined): Promise<SecretPut> {
    checkSecretName(name);
    return this.#gate.mutate(caller, "secret.rollback", { secret: name }, async (commit) => {
      const stored = await this.find(name);
      const { id } = stored.record;
      const version = earlierVersion(stored.record, to);
      const value = await this.#rows.value(id, version);
      if (!value) throw new HatchwayError("corrupt", `version ${version} of secret "${name}" is not in the store`);
      try {
        return await this.#write(caller, commit, name, stored, { value });
      } finally {
        value.fill(0);
      }
    });
  }

  /**
   * Gives the secret another name; its id, versions and grants stay. A VM that has it keeps the file where it is: a path
   * that followed from the old name is written down.
   */
  async rename(caller: Caller, from: string, to: string): Promise<{ secret: Secret; vms: string[] }> {
    checkSecretName(from);
    checkSecretName(to);
    const done = await this.#gate.mutate(
      caller,
      "secret.rename",
      { secret: from, secrets: [from, to] },
      async (commit) => {
        const stored = await this.find(from);
        const key = this.#rows.secretKey(to);
        if (await this.#rows.get(key)) throw new HatchwayError("exists", `secret "${to}" exists already`);
        const { record: before } = stored;
        const holders = await this.#holders(before.id);
        const delivery = holders.size > 0 ? { path: from, ...before.delivery } : before.delivery;
        const record = { ...before, name: to, delivery, modifiedAt: this.#gate.now() };
        const renamedKey = Rows.renamedKey(before.id);
        const renamed = await this.#rows.get<RenamedRecord>(renamedKey);
        const put = [this.#rows.put(key, record), this.#rows.put<RenamedRecord>(renamedKey, { name: to }, renamed)];
        const change = { before: withoutInner(before), after: withoutInner(record) };
        await this.#mirrored(caller, change, () =>
          commit({ put, delete: [{ key: stored.key, version: stored.version }] }),
        );
        const told = await this.#announce(record.id);
        return {
          result: { secret: withoutInner(record), holders: told },
          subject: { secret: to, version: record.version },
        };
      },
    );
    // The grants are found by the row of the new name; that they say it themselves spares the way by that row.
    for (const vmId of done.holders.keys()) {
      await this.#changeGrants(vmId, (grants) =>
        grants.map((grant) => (grant.secretId === done.secret.id ? { ...grant, secretName: to } : grant)),
      );
    }
    return { secret: done.secret, vms: this.#visible(caller, done.holders) };
  }

  async remove(caller: Caller, name: string): Promise<{ vms: string[] }> {
    checkSecretName(name);
    const gone = await this.#gate.mutate(caller, "secret.remove", { secret: name }, async (commit) => {
      const stored = await this.find(name);
      const { id, version } = stored.record;
      const rest = [...(await this.#rows.keys(Rows.renamedKey(id))), ...(await this.#rows.keys(`value:${id}:`))];
      const rows = [stored, ...rest].map(({ key, version: written }) => ({ key, version: written }));
      await this.#mirrored(caller, { before: withoutInner(stored.record) }, () =>
        commit({ delete: rows.slice(0, TOGETHER) }),
      );
      const holders = await this.#announce(id);
      return { result: { id, holders, left: rows.slice(TOGETHER) }, subject: { version } };
    });
    // No grant of it is honoured any more; this is tidying.
    while (gone.left.length > 0) await this.#gate.keep({ delete: gone.left.splice(0, TOGETHER) });
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

  /** The versions whose values are kept, newest first. */
  async history(caller: Caller, name: string): Promise<SecretVersion[]> {
    checkSecretName(name);
    return this.#gate.read(caller, "secret.read", { secret: name }, async () => {
      const { record } = await this.find(name);
      const holders = await this.#holders(record.id);
      return versionsOf(record).map(({ version, size, valueAt }) => {
        const pinning = new Map([...holders].filter(([, { pin }]) => pin === version));
        const pinnedBy = this.#visible(caller, pinning);
        return { version, size, at: valueAt, current: version === record.version, pinnedBy };
      });
    });
  }

  /** The names of the VMs that `caller` may see, sorted. */
  #visible(caller: Caller, holders: ReadonlyMap<string, Holder>): string[] {
    const names = [...holders.values()].map(({ vmName }) => vmName);
    return names.filter((vm) => this.#gate.may(caller, "vm.read", { vm })).toSorted();
  }

  /** Throws "not-found", with the hint that ix gives too. */
  async find(name: string): Promise<Stored<SecretRecord>> {
    const stored = await this.#rows.get<SecretRecord>(this.#rows.secretKey(name));
    if (!stored) throw unknownSecret(name);
    return stored;
  }

  /** Makes a change, in the plain folder too if there is one. */
  #mirrored(caller: Caller, change: MirrorChange, commit: () => Promise<void>): Promise<void> {
    return this.#mirror ? this.#mirror.change(caller, change, commit) : commit();
  }

  async #write(
    caller: Caller,
    commit: (writes: Writes) => Promise<void>,
    name: string,
    stored: Stored<SecretRecord> | undefined,
    change: SecretChange,
  ): Promise<{ result: SecretPut; subject: Subject }> {
    const holders = stored ? await this.#holders(stored.record.id) : new Map<string, Holder>();
    const pins = [...holders.values()].map(({ pin }) => pin).filter((pin) => pin !== undefined);
    const { record, dropped } = nextRecord(name, stored?.record, change, new Set(pins), this.#gate.now());
    for (const vmId of holders.keys()) await this.#bundles.checkWith(vmId, record);
    const put = [this.#rows.put(this.#rows.secretKey(name), record, stored)];
    if (change.value) put.push(this.#rows.putValue(record.id, record.version, change.value));
    const values = await Promise.all(dropped.map((version) => this.#rows.keys(Rows.valueKey(record.id, version))));
    const shown: MirrorChange = { after: withoutInner(record) };
    if (stored) shown.before = withoutInner(stored.record);
    if (change.value) shown.value = change.value;
    await this.#mirrored(caller, shown, () =>
      commit({ put, delete: values.flat().map(({ key, version }) => ({ key, version })) }),
    );
    if (stored) await this.#announce(record.id);
    return { result: { secret: withoutInner(record), created: !stored }, subject: { version: record.version } };
  }

  /** By VM id. */
  async #holders(secretId: string): Promise<Map<string, Holder>> {
    const rows = await this.#rows.list<HolderRecord>(`holder:${secretId}:`);
    const vmIds = rows.map(({ key }) => key.slice(key.lastIndexOf(":") + 1));
    const grants = await this.#rows.getAll<GrantsRecord>(vmIds.map((vmId) => `grants:${vmId}`));
    const holders = new Map<string, Holder>();
    vmIds.forEach((vmId, at) => {
      const record = grants[at]?.record;
      const grant = record?.grants.find((candidate) => candidate.secretId === secretId);
      if (record && grant) holders.set(vmId, { vmName: record.vmName, ...(grant.pin && { pin: grant.pin }) });
    });
    return holders;
  }

  /**
   * Tells those who have the secret that it changed, and says who they are. They are looked up once the change is made:
   * a VM that was given the secret meanwhile may have been told of the version before.
   */
  async #announce(secretId: string): Promise<Map<string, Holder>> {
    try {
      const holders = await this.#holders(secretId);
      this.#bundles.changed([...holders.keys()]);
      return holders;
    } catch (error) {
      this.#bundles.changedAll();
      throw error;
    }
  }

  /** Takes the grant of a removed secret out of a VM's record. */
  async #forgetGrant(secretId: string, vmId: string): Promise<void> {
    await this.#changeGrants(
      vmId,
      (grants) => grants.filter((grant) => grant.secretId !== secretId),
      `holder:${secretId}:${vmId}`,
    );
  }

  /** Changes a VM's grants, whatever else changes them meanwhile, and deletes the row of `outdated`. */
  async #changeGrants(
    vmId: string,
    change: (grants: GrantsRecord["grants"]) => GrantsRecord["grants"],
    outdated?: string,
  ): Promise<void> {
    await this.#gate.retry(async () => {
      const stored = await this.#rows.get<GrantsRecord>(`grants:${vmId}`);
      const row = outdated === undefined ? undefined : await this.#rows.get(outdated);
      const grants = stored && change(stored.record.grants);
      await this.#gate.keep({
        ...(stored && grants && { put: [this.#rows.put(stored.key, { ...stored.record, grants }, stored)] }),
        ...(row && { delete: [{ key: row.key, version: row.version }] }),
      });
    });
  }
}

/** `to`, or the newest before the current one. Throws unless it is kept and not current. */
function earlierVersion(record: SecretRecord, to: number | undefined): number {
  const { name } = record;
  const kept = versionsOf(record).slice(1);
  if (to === record.version) throw new HatchwayError("invalid", `version ${to} of secret "${name}" is the current one`);
  const found = to === undefined ? kept[0] : kept.find(({ version }) => version === to);
  if (found) return found.version;
  const which = to === undefined ? "no earlier version" : `no version ${to}`;
  throw new HatchwayError("not-found", `${which} of secret "${name}" is kept`, {
    hint: `see those that are with: hatchway secret history ${name}`,
  });
}
