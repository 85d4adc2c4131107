import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { mergeDelivery, type Grant, type GrantRequest } from "#grant";
import type { Given, VmRequest } from "#vault";
import type { Vm } from "#vm";
import type { Bundles } from "#vault/bundles";
import { checkDelivery } from "#vault/delivery";
import type { Gate } from "#vault/gate";
import type { GrantsRecord, HolderRecord, SecretRecord } from "#vault/records";
import type { Put, Rows, Stored } from "#vault/rows";
import { atVersion, checkSecretName, withoutInner } from "#vault/secret-record";
import type { Secrets } from "#vault/secrets";
import { checkVmName, findVm, namesOf } from "#vault/vm-record";

/** Rows that go along with the commit that makes an operation visible; more are written before it. */
const TOGETHER = 100;

/** Secrets that one change pins, at most: each adds an expectation to the commit. */
const MAX_PINS = 20;

/** What VMs were given. All grants of a VM are one row, so that attaching is one commit. */
export class Grants {
  readonly #gate: Gate;
  readonly #rows: Rows;
  readonly #secrets: Secrets;
  readonly #bundles: Bundles;

  constructor(gate: Gate, rows: Rows, secrets: Secrets, bundles: Bundles) {
    this.#gate = gate;
    this.#rows = rows;
    this.#secrets = secrets;
    this.#bundles = bundles;
  }

  async attach(caller: Caller, name: string, requests: readonly GrantRequest[]): Promise<Grant[]> {
    checkVmName(name);
    for (const { secret } of requests) checkSecretName(secret);
    const secrets = requests.map(({ secret }) => secret);
    return this.#gate.mutate(caller, "grant.attach", { vm: name, ...namesOf(secrets), secrets }, async (commit) => {
      const vm = (await findVm(this.#rows, name)).record;
      const stored = await this.#grantsOf(vm);
      const { grants, expect } = await this.added(name, stored.record.grants, requests);
      const put = [this.#rows.put(stored.key, { vmName: name, grants }, stored), ...(await this.holders(vm, grants))];
      await commit({ expect, put });
      this.#bundles.changed([vm.id]);
      return { result: grants.filter(({ secretName }) => requests.some(({ secret }) => secret === secretName)) };
    });
  }

  async detach(caller: Caller, name: string, secret: string): Promise<void> {
    checkVmName(name);
    checkSecretName(secret);
    await this.#gate.mutate(caller, "grant.detach", { vm: name, secret }, async (commit) => {
      const vm = (await findVm(this.#rows, name)).record;
      const stored = await this.#grantsOf(vm);
      const grant = await this.#grantIn(stored, secret);
      const grants = stored.record.grants.filter((other) => other !== grant);
      const holder = await this.#rows.get<HolderRecord>(holderKey(grant.secretId, vm.id));
      await commit({
        put: [this.#rows.put(stored.key, { vmName: name, grants }, stored)],
        ...(holder && { delete: [{ key: holder.key, version: holder.version }] }),
      });
      this.#bundles.changed([vm.id]);
      return { result: undefined };
    });
  }

  async unpin(caller: Caller, name: string, secret: string): Promise<void> {
    checkVmName(name);
    checkSecretName(secret);
    await this.#gate.mutate(caller, "grant.unpin", { vm: name, secret }, async (commit) => {
      const vm = (await findVm(this.#rows, name)).record;
      const stored = await this.#grantsOf(vm);
      const grant = await this.#grantIn(stored, secret);
      if (grant.pin === undefined) {
        throw new HatchwayError("invalid", `vm "${name}" has no pinned version of secret "${secret}"`);
      }
      const { pin: version, ...unpinned } = grant;
      const grants = stored.record.grants.map((other) => (other === grant ? unpinned : other));
      const given = await this.#bundles.secretsOf(grants);
      given.secrets.forEach((now, at) =>
        checkDelivery(now, mergeDelivery(now.delivery, given.grants[at]?.change ?? {})),
      );
      this.#bundles.check(name, given.entries);
      await commit({ put: [this.#rows.put(stored.key, { vmName: name, grants }, stored)] });
      this.#bundles.changed([vm.id]);
      return { result: undefined, subject: { version } };
    });
  }

  /** What a vm was given, as far as `caller` may see it. */
  async of(caller: Caller, vm: Vm): Promise<Given[]> {
    const { name } = vm;
    return this.#gate.read(caller, "grant.list", { vm: name, vmId: vm.id }, async () => {
      const { record } = await this.#grantsOf(vm);
      const { grants, secrets, newest } = await this.#bundles.secretsOf(record.grants);
      return grants.flatMap((grant, at) => {
        const secret = secrets[at];
        if (!secret) return [];
        const seen =
          caller.kind === "runner" || this.#gate.may(caller, "grant.list", { vm: name, secret: secret.name });
        return seen ? [{ grant, secret: withoutInner(secret), newest: newest[at] ?? secret.version }] : [];
      });
    });
  }

  /** `before` with `requests` added or changed, checked as a whole; and the rows that must not change meanwhile. */
  async added(
    vmName: string,
    before: readonly Grant[],
    requests: readonly GrantRequest[],
  ): Promise<{ grants: Grant[]; expect: { key: string; version: number }[] }> {
    const grants = new Map(before.map((grant) => [grant.secretId, grant]));
    const asked = new Set<string>();
    const expect: { key: string; version: number }[] = [];
    for (const { secret: name, change, pin } of requests) {
      if (asked.has(name)) throw new HatchwayError("invalid", `secret "${name}" is asked for twice`);
      asked.add(name);
      const { key, version, record: secret } = await this.#secrets.find(name);
      const old = grants.get(secret.id);
      const pinned = pin === true ? secret.version : old?.pin;
      if (pin === true) expect.push({ key, version });
      checkDelivery(atVersion(secret, pinned), mergeDelivery(secret.delivery, change));
      const attachedAt = old?.attachedAt ?? this.#gate.now();
      grants.set(secret.id, {
        secretId: secret.id,
        secretName: name,
        change,
        ...(pinned !== undefined && { pin: pinned }),
        attachedAt,
      });
    }
    if (expect.length > MAX_PINS) {
      throw new HatchwayError("invalid", `${expect.length} secrets are to be pinned: at most ${MAX_PINS} at once`);
    }
    const all = [...grants.values()];
    this.#bundles.check(vmName, (await this.#bundles.secretsOf(all)).entries);
    return { grants: all, expect };
  }

  /** What a new VM is to get: what was asked for, and of all secrets, or of the defaults, what `caller` may attach. */
  async requested(caller: Caller, request: VmRequest): Promise<readonly GrantRequest[]> {
    const { name: vm, grants, all, defaults } = request;
    if (all !== true && defaults !== true) return grants;
    const asked = new Set(grants.map(({ secret }) => secret));
    const stored = await this.#rows.list<SecretRecord>("secret:");
    const more = stored.filter(
      ({ record: { name, default: isDefault } }) =>
        !asked.has(name) &&
        (all === true || isDefault === true) &&
        this.#gate.may(caller, "grant.attach", { vm, secret: name }),
    );
    return [...grants, ...more.map(({ record }) => ({ secret: record.name, change: {} }))];
  }

  /** The index rows that `grants` still lack; those that one commit does not hold are written at once. */
  async holders(vm: Vm, grants: readonly Grant[]): Promise<Put[]> {
    const keys = grants.map(({ secretId }) => holderKey(secretId, vm.id));
    const there = await this.#rows.getAll<HolderRecord>(keys);
    const missing = keys.filter((_, at) => !there[at]);
    const puts = missing.map((key) => this.#rows.put<HolderRecord>(key, { vmName: vm.name }));
    while (puts.length > TOGETHER) await this.#gate.keep({ put: puts.splice(0, TOGETHER) });
    return puts;
  }

  /** Takes away the index rows of a VM that is gone; the removal of a secret may come first. */
  async forgetHolders(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += TOGETHER) {
      await this.#gate.retry(async () => {
        const there = await this.#rows.getAll<HolderRecord>(keys.slice(at, at + TOGETHER));
        const rows = there.filter((row) => row !== undefined);
        if (rows.length > 0) await this.#gate.keep({ delete: rows.map(({ key, version }) => ({ key, version })) });
      });
    }
  }

  /** The grant of a secret that has this name now. */
  async #grantIn({ record }: Stored<GrantsRecord>, secret: string): Promise<Grant> {
    const stored = await this.#rows.get<SecretRecord>(this.#rows.secretKey(secret));
    const grant = stored && record.grants.find(({ secretId }) => secretId === stored.record.id);
    if (grant) return grant;
    throw new HatchwayError("not-found", `secret "${secret}" is not attached to vm "${record.vmName}"`);
  }

  async #grantsOf(vm: Vm): Promise<Stored<GrantsRecord>> {
    const stored = await this.#rows.get<GrantsRecord>(`grants:${vm.id}`);
    if (!stored) throw new HatchwayError("corrupt", `the grants of vm "${vm.name}" are missing from the store`);
    return stored;
  }
}

export function holderKey(secretId: string, vmId: string): string {
  return `holder:${secretId}:${vmId}`;
}
