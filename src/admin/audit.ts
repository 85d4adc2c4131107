import { ok, type Answer, type Ask } from "#admin/route";
import type { Said } from "#admin/schemas";
import type { LogQuery } from "#admin/queries";
import type { TrailBody } from "#api";
import type { TrailFilter } from "#trail";
import type { Vault } from "#vault";

export interface AuditParts {
  vault: Vault;
}

/** JSON lines, the newest last. */
export async function tailAudit(
  { vault }: AuditParts,
  { caller, query, signal }: Ask<LogQuery, undefined>,
): Promise<Answer> {
  const following = query.follow === true ? signal : undefined;
  return { status: 200, text: await vault.trail.tail(caller, query.lines ?? 20, following) };
}

export async function exportAudit(
  { vault }: AuditParts,
  { caller, query }: Ask<Said<TrailFilter>, undefined>,
): Promise<Answer> {
  const given = Object.entries(query).filter(([, part]) => part !== undefined);
  return { status: 200, text: await vault.trail.select(caller, Object.fromEntries(given)) };
}

export async function verifyAudit({ vault }: AuditParts, { caller }: Ask<undefined, undefined>): Promise<Answer> {
  return ok((await vault.trail.verify(caller)) satisfies TrailBody);
}
