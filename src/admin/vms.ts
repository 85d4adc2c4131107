// The actions on VMs and what is attached to them: one call each into machines or vault.
import { grantBody, grantRequest, vmBody, vmRequest } from "#admin/bodies";
import { created, nothing, ok, type Answer, type Ask } from "#admin/route";
import type { Said, VmSaid } from "#admin/schemas";
import type { LogQuery, WaitQuery } from "#admin/queries";
import type { AttachRequest, GrantBody, ProcessRequest, PushRequest } from "#api-vm";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import type { Machines, Wait } from "#machines";
import type { Vault } from "#vault";

export interface VmParts {
  vault: Vault;
  machines: Machines;
  /** What a VM gets whose request has no list of secrets. */
  attachDefault: "defaults" | "all";
}

/** Milliseconds, where a request does not say. */
const WAIT = 30_000;
const GRACE = 10_000;
const LINES = 100;

/** The wait that a request asks for; `signal` ends it, where it is to end with the request. */
export function waitOf({ wait, timeout }: WaitQuery, signal?: AbortSignal): [] | [Wait] {
  if (wait !== undefined) return [{ until: wait, timeout: timeout ?? WAIT, ...(signal && { signal }) }];
  if (timeout === undefined) return [];
  throw new HatchwayError("invalid", "timeout without wait");
}

export async function listVms({ machines }: VmParts, { caller }: Ask<unknown, unknown>): Promise<Answer> {
  return ok(await Promise.all((await machines.views(caller)).map(vmBody)));
}

export async function createVm(
  { vault, machines, attachDefault }: VmParts,
  { caller, json, query }: Ask<WaitQuery & { launch?: boolean | undefined }, VmSaid>,
): Promise<Answer> {
  const start = query.launch === true;
  // The request is read with a look at its disk, or at who has it, which is nobody else's to ask for.
  await vault.allow(caller, "vm.create", json.name);
  const request = await vmRequest(json, caller, { start, attachDefault });
  return created(await vmBody(await machines.create(caller, request, start, ...waitOf(query))));
}

export async function showVm(
  { machines }: Pick<VmParts, "machines">,
  { caller, name, query, signal }: Ask<WaitQuery, unknown>,
): Promise<Answer> {
  return ok(await vmBody(await machines.view(caller, name("name"), ...waitOf(query, signal))));
}

export async function removeVm({ machines }: VmParts, { caller, name }: Ask<unknown, unknown>): Promise<Answer> {
  await machines.remove(caller, name("name"));
  return nothing;
}

export async function startVm(
  { machines }: VmParts,
  { caller, name, query }: Ask<WaitQuery, unknown>,
): Promise<Answer> {
  return ok(await vmBody(await machines.start(caller, name("name"), ...waitOf(query))));
}

export async function stopVm(
  { machines }: VmParts,
  { caller, name, query }: Ask<{ grace?: number | undefined }, unknown>,
): Promise<Answer> {
  return ok(await vmBody(await machines.stop(caller, name("name"), query.grace ?? GRACE)));
}

/** What `hatchway push` brought into the guest, once it is in force there. */
export async function recordPush(
  { vault, machines }: VmParts,
  { caller, name, json }: Ask<unknown, PushRequest>,
): Promise<Answer> {
  await vault.pushed(caller, name("name"), json.revision, json.mount);
  return ok(await vmBody(await machines.view(caller, name("name"))));
}

export async function observeVm(
  { machines }: VmParts,
  { caller, name, json }: Ask<undefined, ProcessRequest>,
): Promise<Answer> {
  return ok(await vmBody(await machines.observe(caller, name("name"), json.pid)));
}

export async function showConsole(
  { machines }: VmParts,
  { caller, name, query, signal }: Ask<LogQuery, unknown>,
): Promise<Answer> {
  const lines = query.lines ?? LINES;
  const text =
    query.follow === true
      ? await machines.followConsole(caller, name("name"), lines, signal)
      : await machines.console(caller, name("name"), lines);
  return { status: 200, text };
}

export async function listGrants({ vault }: VmParts, { caller, name }: Ask<unknown, unknown>): Promise<Answer> {
  return ok((await vault.grants(caller, name("name"))).map(grantBody));
}

export async function attach(
  { vault }: VmParts,
  { caller, name, json }: Ask<undefined, Said<AttachRequest>>,
): Promise<Answer> {
  await vault.attach(caller, name("name"), [grantRequest(name("secret"), json)]);
  return ok(await grantOf(vault, caller, name("name"), name("secret")));
}

export async function unpin({ vault }: VmParts, { caller, name }: Ask<unknown, unknown>): Promise<Answer> {
  await vault.unpin(caller, name("name"), name("secret"));
  return ok(await grantOf(vault, caller, name("name"), name("secret")));
}

async function grantOf(vault: Vault, caller: Caller, vm: string, secret: string): Promise<GrantBody> {
  const given = (await vault.grants(caller, vm)).find((one) => one.secret.name === secret);
  if (given) return grantBody(given);
  throw new HatchwayError("conflict", `secret "${secret}" was taken back from vm "${vm}" meanwhile`);
}

export async function detach({ vault }: VmParts, { caller, name }: Ask<unknown, unknown>): Promise<Answer> {
  await vault.detach(caller, name("name"), name("secret"));
  return nothing;
}
