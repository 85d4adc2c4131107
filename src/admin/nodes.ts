// Slicer's other routes: VMs by host group. What is launched here is a VM like any other.
import { created, ok, type Answer, type Ask } from "#admin/route";
import type { Said } from "#admin/schemas";
import type { WaitQuery } from "#admin/queries";
import { waitOf, type VmParts } from "#admin/vms";
import type { HostGroupBody, NodeBody, NodeRequestBody } from "#api-vm";
import { HatchwayError } from "#error";
import type { HostGroups } from "#hostgroup";
import type { VmView } from "#machines";

export interface NodeParts extends VmParts {
  hostGroups: HostGroups;
}

const MIB = 1_048_576;
/** All that Hatchway launches is of the host's own kind. */
const ARCH = process.arch === "x64" ? "x86_64" : process.arch;

export async function listHostGroups(
  { machines, hostGroups }: NodeParts,
  { caller }: Ask<unknown, unknown>,
): Promise<Answer> {
  const views = await machines.views(caller);
  const bodies = hostGroups.groups.map(({ name, launch }): HostGroupBody => {
    const count = views.filter(({ vm }) => vm.group === name).length;
    return { name, count, ram_bytes: launch.memoryMiB * MIB, cpus: launch.cpus, arch: ARCH };
  });
  return ok(bodies);
}

export async function listNodes({ machines }: NodeParts, { caller }: Ask<unknown, unknown>): Promise<Answer> {
  return ok((await machines.views(caller)).map(nodeBody));
}

export async function listGroupNodes(
  { machines, hostGroups }: NodeParts,
  { caller, name }: Ask<unknown, unknown>,
): Promise<Answer> {
  const group = hostGroups.group(name("group"));
  const views = await machines.views(caller);
  return ok(views.filter(({ vm }) => vm.group === group.name).map(nodeBody));
}

/** No list of secrets means all of them, whatever the host's setting for `POST /vms` is. */
export async function createNode(
  { hostGroups }: NodeParts,
  { caller, name, query, json }: Ask<WaitQuery, Said<NodeRequestBody>>,
): Promise<Answer> {
  const { secrets, ram_bytes, cpus } = json;
  const request = {
    grants: (secrets ?? []).map((secret) => ({ secret, change: {} })),
    ...(secrets === undefined && { all: true }),
    ...(ram_bytes !== undefined && { memoryMiB: Math.ceil(ram_bytes / MIB) }),
    ...(cpus !== undefined && { cpus }),
  };
  return created(nodeBody(await hostGroups.create(caller, name("group"), request, ...waitOf(query))));
}

export async function removeNode(
  { machines, hostGroups }: NodeParts,
  { caller, name }: Ask<unknown, unknown>,
): Promise<Answer> {
  const group = hostGroups.group(name("group"));
  const { vm } = await machines.view(caller, name("host"));
  if (vm.group !== group.name) {
    throw new HatchwayError("not-found", `there is no vm "${vm.name}" in host group "${group.name}"`);
  }
  await machines.remove(caller, vm.name);
  return ok({ message: `removed vm "${vm.name}"` });
}

function nodeBody({ vm, machine }: VmView): NodeBody {
  return {
    hostname: vm.name,
    ...(vm.group !== undefined && { hostgroup: vm.group }),
    ...(vm.launch && { ram_bytes: vm.launch.memoryMiB * MIB, cpus: vm.launch.cpus }),
    arch: ARCH,
    status: machine.state === "running" ? "Running" : "Stopped",
    created_at: new Date(vm.createdAt).toISOString(),
  };
}
