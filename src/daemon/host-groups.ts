import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import type { HostGroup, HostGroups, NodeRequest } from "#hostgroup";
import { hostUser } from "#host/users";
import type { Machines, VmView, Wait } from "#machines";
import type { Vault } from "#vault";
import type { Runner } from "#vm";
import { diskFormat } from "#vmm/disk";

export interface HostGroupParts {
  vault: Vault;
  machines: Machines;
  groups: readonly HostGroup[];
  /** The daemon's own work, as the audit names it. */
  self: Caller;
  /** Who runs a VM whose group names nobody; undefined where each VM needs a user of its own. */
  ownRunner: Runner | undefined;
}

/** Names the VMs of a group, and gives each a runner. */
export class NumberedGroups implements HostGroups {
  readonly groups: readonly HostGroup[];
  readonly #parts: HostGroupParts;
  /** What VMs that are being made will have: they are in the vault a little later. */
  readonly #names = new Set<string>();
  readonly #runners = new Set<number>();

  constructor(parts: HostGroupParts) {
    this.#parts = parts;
    this.groups = parts.groups.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  group(name: string): HostGroup {
    const group = this.groups.find((one) => one.name === name);
    if (group) return group;
    throw new HatchwayError("not-found", `there is no host group "${name.slice(0, 80)}"`, {
      hint: `there are: ${this.groups.map((one) => one.name).join(", ")}`,
    });
  }

  async create(caller: Caller, name: string, request: NodeRequest, wait?: Wait): Promise<VmView> {
    const group = this.group(name);
    const { vault, machines, self } = this.#parts;
    const vms = await vault.vms(self);
    const runner = await this.#freeRunner(group, new Set(vms.map((vm) => vm.runner.uid)));
    const taken = new Set(vms.map((vm) => vm.name));
    let number = 1;
    while (taken.has(`${name}-${number}`) || this.#names.has(`${name}-${number}`)) number++;
    const hostname = `${name}-${number}`;
    if (this.#runners.has(runner.uid) && group.runners.length > 0) throw noRunner(group);
    this.#names.add(hostname);
    this.#runners.add(runner.uid);
    const { grants, all, ...machine } = request;
    try {
      const { disk: path, ...launch } = { ...group.launch, ...machine };
      const disk = path === undefined ? {} : { disk: { path, format: await diskFormat(path) } };
      const vm = { name: hostname, group: name, runner, launch: { ...launch, ...disk }, grants };
      return await machines.create(caller, all === true ? { ...vm, all } : vm, true, wait);
    } finally {
      this.#names.delete(hostname);
      this.#runners.delete(runner.uid);
    }
  }

  async #freeRunner(group: HostGroup, busy: ReadonlySet<number>): Promise<Runner> {
    for (const key of group.runners) {
      const user = await hostUser(key);
      if (!user) {
        throw new HatchwayError("invalid", `runner "${key}" of host group "${group.name}" is not a user of this host`);
      }
      if (!busy.has(user.uid) && !this.#runners.has(user.uid)) return { uid: user.uid, gid: user.gid };
    }
    const { ownRunner } = this.#parts;
    if (group.runners.length === 0 && ownRunner) return ownRunner;
    throw noRunner(group);
  }
}

function noRunner({ name, runners }: HostGroup): HatchwayError {
  const problem =
    runners.length === 0
      ? `host group "${name}" has no runners, and each vm needs a user of its own`
      : `each runner of host group "${name}" runs a vm already: it has ${runners.length}`;
  return new HatchwayError("conflict", problem, { hint: `add users to hostgroups.${name}.runners in config.yaml` });
}
