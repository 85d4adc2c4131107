// What somebody may do, as he may ask himself.
import { ok, type Answer, type Ask } from "#admin/route";
import type { CanQuery } from "#admin/queries";
import type { CanBody, WhoamiBody } from "#api";
import { describeCaller } from "#caller";
import type { Vault } from "#vault";

interface AccessParts {
  vault: Vault;
}

export async function showWhoami({ vault }: AccessParts, { caller }: Ask<unknown, unknown>): Promise<Answer> {
  const roles = (await vault.whoami(caller)).map(({ role, secrets, vms }) => ({ role, secrets, vms }));
  return ok({ caller: describeCaller(caller), roles } satisfies WhoamiBody);
}

export async function showCan({ vault }: AccessParts, { caller, query }: Ask<CanQuery, unknown>): Promise<Answer> {
  const { verb, secret, vm } = query;
  const subject = { ...(secret !== undefined && { secret }), ...(vm !== undefined && { vm }) };
  return ok((await vault.can(caller, verb, subject)) satisfies CanBody);
}
