import { created, nothing, ok, type Answer, type Ask } from "#admin/route";
import type { KeysBody, WayBody, WayQuery } from "#api";
import { newWay } from "#keys";
import type { Vault } from "#vault";

export interface KeyParts {
  vault: Vault;
}

export async function showKeys({ vault }: KeyParts, { caller }: Ask<undefined, undefined>): Promise<Answer> {
  const { ways, current, terms } = await vault.keys.status(caller);
  const shown = terms.map(({ term, created: at }) => ({ term, created_at: new Date(at).toISOString() }));
  return ok({ ways, current, terms: shown } satisfies KeysBody);
}

/** The body is what must be kept secret of the way: the passphrase, or the credential's key. */
export async function addWay(
  { vault }: KeyParts,
  { caller, name, query, value }: Ask<WayQuery, undefined>,
): Promise<Answer> {
  return created(
    (await vault.keys.addWay(caller, name("way"), newWay(query, value ?? Buffer.alloc(0)))) satisfies WayBody,
  );
}

export async function removeWay({ vault }: KeyParts, { caller, name }: Ask<unknown, unknown>): Promise<Answer> {
  await vault.keys.removeWay(caller, name("way"));
  return nothing;
}
