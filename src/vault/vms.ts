import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import type { VmRequest } from "#vault";
import type { Runner, Vm } from "#vm";
import type { Policy } from "#vault/authorise";
import type { Bundles } from "#vault/bundles";
import type { Gate } from "#vault/gate";
import { holderKey, type Grants } from "#vault/grants";
import { Ledgers } from "#vault/ledgers";
import { Mutex } from "#mutex";
import type { GrantsRecord, VmRecord } from "#vault/records";
import { Rows } from "#vault/rows";
import { checkVmName, findVm, namesOf, unknownVm } from "#vault/vm-record";

/** What the vault does with VMs. */
export class Vms {
  readonly #gate: Gate;
  readonly #rows: Rows;
  readonly #grants: Grants;
  readonly #bundles: Bundles;
  readonly #ledgers: Ledgers;
  readonly #policy: Policy;
  readonly #creating = new Mutex();

  constructor(gate: Gate, rows: Rows, grants: Grants, bundles: Bundles, ledgers: Ledgers, policy: Policy) {
    this.#gate = gate;
    this.#rows = rows;
    this.#grants = grants;
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
    const { name, group, runner, launch, adopted, cid } = request;
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
        if (cid !== undefined) await this.#checkCid(cid);
        const vm: Vm = {
          id: Rows.newId(),
          name,
          runner,
          createdAt: this.#gate.now(),
          ...(launch && { launch }),
          ...(adopted && { adopted }),
          ...(cid !== undefined && { cid }),
          ...(group !== undefined && { group }),
        };
        const { grants, expect } = await this.#grants.added(name, [], await this.#grants.requested(caller, request));
        await commit({
          expect,
          put: [
            this.#rows.put<VmRecord>(this.#rows.vmKey(name), vm),
            this.#rows.put<GrantsRecord>(`grants:${vm.id}`, { vmName: name, grants }),
            this.#rows.put(Ledgers.key(vm.id), Ledgers.initial(name)),
            ...(await this.#grants.holders(vm, grants)),
          ],
        });
        return { result: vm, subject: namesOf(grants.map(({ secretName }) => secretName)) };
      },
    );
  }

  async remove(caller: Caller, name: string): Promise<void> {
    checkVmName(name);
    const holders = await this.#gate.mutate(caller, "vm.remove", { vm: name }, async (commit) => {
      const stored = await findVm(this.#rows, name);
      const { id } = stored.record;
      const grants = await this.#rows.get<GrantsRecord>(`grants:${id}`);
      const ledger = await this.#rows.get(Ledgers.key(id));
      const gone = [stored, grants, ledger].filter((row) => row !== undefined);
      await commit({ delete: gone.map(({ key, version }) => ({ key, version })) });
      this.#ledgers.forget(id);
      this.#bundles.changed([id]);
      return { result: (grants?.record.grants ?? []).map(({ secretId }) => holderKey(secretId, id)) };
    });
    await this.#grants.forgetHolders(holders);
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
      const { record } = await findVm(this.#rows, name);
      await commit({});
      return { result: record };
    });
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

  /** Two VMs of one number would each be taken for the other. */
  async #checkCid(cid: number): Promise<void> {
    const others = (await this.#rows.list<VmRecord>("vm:")).map(({ record }) => record);
    const taken = others.find((other) => other.cid === cid);
    if (taken) throw new HatchwayError("exists", `vm "${taken.name}" has the cid ${cid} already`);
  }
}
