import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { mergeDelivery, type Grant, type GrantRequest } from "#grant";
import { vmNameProblem } from "#protocol/names";
import type { Given, VmRequest } from "#vault";
import type { Runner, Vm } from "#vm";
import type { Policy } from "#vault/authorise";
import type { Bundles } from "#vault/bundles";
import { checkDelivery } from "#vault/delivery";
import type { Gate } from "#vault/gate";
import { Ledgers } from "#vault/ledgers";
import { Mutex } from "#mutex";
import type { GrantsRecord, HolderRecord, SecretRecord, VmRecord } from "#vault/records";
import { Rows, type Put, type Stored } from "#vault/rows";
import { atVersion, checkSecretName, withoutInner } from "#vault/secret-record";
import type { Secrets } from "#vault/secrets";

/** Rows that go along with the commit that makes an operation visible; more are written before it. */
const TOGETHER = 100;

/** Secrets that one change pins, at most: each adds an expectation to the commit. */
const MAX_PINS = 20;

/** What the vault does with VMs and with what they were given. */
export class Vms {
  readonly #gate: Gate;
  readonly #rows: Rows;
  readonly #secrets: Secrets;
  readonly #bundles: Bundles;
  readonly #ledgers: Ledgers;
  readonly #policy: Policy;
  readonly #creating = new Mutex();

  constructor(gate: Gate, rows: Rows, secrets: Secrets, bundles: Bundles, ledgers: Ledgers, policy: Policy) {
    this.#gate = gate;
    this.#rows = rows;
    this.#secrets = secrets;
    this.#bundles = bundles;
    this.#ledgers = ledgers;
    this.#policy = policy;
  }

  async create(caller: Caller, request: VmRequest): Promise<Vm> {
    checkVmName(request.name);
    // One after the other: whether a runner has a vm already is no row that a commit could meet.
    return this.#creating.run("", () => this.#create(caller, request));
  }

  async #create(caller: Caller, request: VmRequest): Promise<Vm> {
    const { name, group, runner, launch } = request;
    const secrets = request.grants.map(({ secret }) => secret);
    const origin = { runner: runner.uid, ...(group !== undefined && { group }) };
    return this.#gate.mutate(
      caller,
      "vm.create",
      { vm: name, ...namesOf(secrets), secrets, ...origin },
      async (commit) => {
        if (await this.#rows.get(this.#rows.vmKey(name))) {
          throw new HatchwayError("exists", `vm "${name}" exists already`, {
            hint: `remove it with: hatchway vm remove ${name}`,
          });
        }
        await this.#checkRunner(name, runner);
        const vm: Vm = {
          id: Rows.newId(),
          name,
          runner,
          createdAt: this.#gate.now(),
          ...(launch && { launch }),
          ...(group !== undefined && { group }),
        };
        const { grants, expect } = await this.#grant(name, [], await this.#requested(caller, request));
        await commit({
          expect,
          put: [
            this.#rows.put<VmRecord>(this.#rows.vmKey(name), vm),
            this.#rows.put<GrantsRecord>(`grants:${vm.id}`, { vmName: name, grants }),
            this.#rows.put(Ledgers.key(vm.id), Ledgers.initial(name)),
            ...(await this.#holders(vm, grants)),
          ],
        });
        return { result: vm, subject: namesOf(grants.map(({ secretName }) => secretName)) };
      },
    );
  }

  async remove(caller: Caller, name: string): Promise<void> {
    checkVmName(name);
    const holders = await this.#gate.mutate(caller, "vm.remove", { vm: name }, async (commit) => {
      const stored = await this.find(name);
      const { id } = stored.record;
      const grants = await this.#rows.get<GrantsRecord>(`grants:${id}`);
      const ledger = await this.#rows.get(Ledgers.key(id));
      const gone = [stored, grants, ledger].filter((row) => row !== undefined);
      await commit({ delete: gone.map(({ key, version }) => ({ key, version })) });
      this.#ledgers.forget(id);
      this.#bundles.changed([id]);
      return { result: (grants?.record.grants ?? []).map(({ secretId }) => holderKey(secretId, id)) };
    });
    await this.#forgetHolders(holders);
  }

  async get(caller: Caller, name: string): Promise<Vm> {
    checkVmName(name);
    const stored = await this.#rows.get<VmRecord>(this.#rows.vmKey(name));
    return this.#gate.read(caller, "vm.read", { vm: name, ...(stored && { vmId: stored.record.id }) }, async () => {
      if (!stored) throw unknownVm(name);
      return stored.record;
    });
  }

  async all(caller: Caller): Promise<Vm[]> {
    return this.#gate.read(caller, "vm.list", {}, async () => {
      const records = (await this.#rows.list<VmRecord>("vm:")).map(({ record }) => record);
      const his = records.filter(({ name }) => this.#gate.may(caller, "vm.read", { vm: name }));
      return his.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    });
  }

  async admit(caller: Caller, operation: "vm.start" | "vm.stop", name: string): Promise<Vm> {
    checkVmName(name);
    return this.#gate.mutate(caller, operation, { vm: name }, async (commit) => {
      const { record } = await this.find(name);
      await commit({});
      return { result: record };
    });
  }

  async attach(caller: Caller, name: string, requests: readonly GrantRequest[]): Promise<Grant[]> {
    checkVmName(name);
    for (const { secret } of requests) checkSecretName(secret);
    const secrets = requests.map(({ secret }) => secret);
    return this.#gate.mutate(caller, "grant.attach", { vm: name, ...namesOf(secrets), secrets }, async (commit) => {
      const vm = (await this.find(name)).record;
      const stored = await this.#grantsOf(vm);
      const { grants, expect } = await this.#grant(name, stored.record.grants, requests);
      const put = [this.#rows.put(stored.key, { vmName: name, grants }, stored), ...(await this.#holders(vm, grants))];
      await commit({ expect, put });
      this.#bundles.changed([vm.id]);
      return { result: grants.filter(({ secretName }) => requests.some(({ secret }) => secret === secretName)) };
    });
  }

  async detach(caller: Caller, name: string, secret: string): Promise<void> {
    checkVmName(name);
    checkSecretName(secret);
    await this.#gate.mutate(caller, "grant.detach", { vm: name, secret }, async (commit) => {
      const vm = (await this.find(name)).record;
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
      const vm = (await this.find(name)).record;
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

  async grants(caller: Caller, name: string): Promise<Given[]> {
    const vm = await this.get(caller, name);
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

  async find(name: string): Promise<Stored<VmRecord>> {
    checkVmName(name);
    const stored = await this.#rows.get<VmRecord>(this.#rows.vmKey(name));
    if (!stored) throw unknownVm(name);
    return stored;
  }

  /** `before` with `requests` added or changed, checked as a whole; and the rows that must not change meanwhile. */
  async #grant(
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
  async #requested(caller: Caller, request: VmRequest): Promise<readonly GrantRequest[]> {
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

  /** The grant of a secret that has this name now. */
  async #grantIn({ record }: Stored<GrantsRecord>, secret: string): Promise<Grant> {
    const stored = await this.#rows.get<SecretRecord>(this.#rows.secretKey(secret));
    const grant = stored && record.grants.find(({ secretId }) => secretId === stored.record.id);
    if (grant) return grant;
    throw new HatchwayError("not-found", `secret "${secret}" is not attached to vm "${record.vmName}"`);
  }

  /** The index rows that `grants` still lack; those that one commit does not hold are written at once. */
  async #holders(vm: Vm, grants: readonly Grant[]): Promise<Put[]> {
    const keys = grants.map(({ secretId }) => holderKey(secretId, vm.id));
    const there = await this.#rows.getAll<HolderRecord>(keys);
    const missing = keys.filter((_, at) => !there[at]);
    const puts = missing.map((key) => this.#rows.put<HolderRecord>(key, { vmName: vm.name }));
    while (puts.length > TOGETHER) await this.#gate.keep({ put: puts.splice(0, TOGETHER) });
    return puts;
  }

  /** Takes away the index rows of a VM that is gone; the removal of a secret may come first. */
  async #forgetHolders(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += TOGETHER) {
      await this.#gate.retry(async () => {
        const there = await this.#rows.getAll<HolderRecord>(keys.slice(at, at + TOGETHER));
        const rows = there.filter((row) => row !== undefined);
        if (rows.length > 0) await this.#gate.keep({ delete: rows.map(({ key, version }) => ({ key, version })) });
      });
    }
  }

  async #grantsOf(vm: Vm): Promise<Stored<GrantsRecord>> {
    const stored = await this.#rows.get<GrantsRecord>(`grants:${vm.id}`);
    if (!stored) throw new HatchwayError("corrupt", `the grants of vm "${vm.name}" are missing from the store`);
    return stored;
  }

  /**
   * In system mode VMs of one host user could reach each other's sockets, and of one group plant files in each other's
   * folders, so each has a user and a group of its own.
   */
  async #checkRunner(name: string, { uid, gid }: Runner): Promise<void> {
    if (this.#policy.mode !== "system") return;
    const others = (await this.#rows.list<VmRecord>("vm:")).map(({ record }) => record);
    const taken = others.find(({ runner }) => runner.uid === uid || runner.gid === gid);
    if (!taken) return;
    const what = taken.runner.uid === uid ? `uid ${uid}` : `group ${gid}`;
    throw new HatchwayError("invalid", `vm "${taken.name}" has the runner ${what} already`, {
      hint: `give each vm a user of its own: useradd --system ${name}-runner, then --runner ${name}-runner`,
    });
  }
}

/** As the audit has them; no name holds a comma. */
function namesOf(secrets: readonly string[]): { secret?: string } {
  return secrets.length === 0 ? {} : { secret: secrets.join(",") };
}

function holderKey(secretId: string, vmId: string): string {
  return `holder:${secretId}:${vmId}`;
}

function checkVmName(name: string): void {
  const problem = vmNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name.slice(0, 80)}" ${problem}`);
}

function unknownVm(name: string): HatchwayError {
  return new HatchwayError("not-found", `there is no vm "${name}"`, { hint: "see them with: hatchway vm list" });
}
