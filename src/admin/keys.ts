import { created, nothing, ok, type Answer, type Ask } from "#admin/route";
import type { KeyBackupBody, KeysBody, RewrapBody, UnsealedBody, UnsealQuery, WayBody, WayQuery } from "#api";
import { HatchwayError } from "#error";
import { newWay } from "#keys";
import type { Sealing } from "#sealing";
import type { Vault } from "#vault";

export interface KeyParts {
  vault: Vault;
  sealing: Sealing;
}

export async function showKeys({ vault, sealing }: KeyParts, { caller }: Ask<undefined, undefined>): Promise<Answer> {
  const { sealed, openedBy, ways, current, terms } = await (sealing.isSealed ? sealing : vault.keys).status(caller);
  const shown = terms.map(({ term, created: at, rows }) => ({ term, created_at: new Date(at).toISOString(), rows }));
  const opened = openedBy === undefined ? {} : { opened_by: openedBy };
  return ok({ sealed, ...opened, ways, current, terms: shown } satisfies KeysBody);
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

/** Answers the number of the new term. */
export async function rotateKeys({ vault }: KeyParts, { caller }: Ask<unknown, unknown>): Promise<Answer> {
  return created({ term: await vault.keys.rotate(caller) });
}

export async function startRewrap({ vault }: KeyParts, { caller }: Ask<unknown, unknown>): Promise<Answer> {
  await vault.keys.rewrap(caller);
  return ok((await vault.keys.rewrapProgress(caller)) satisfies RewrapBody);
}

export async function showRewrap({ vault }: KeyParts, { caller }: Ask<unknown, unknown>): Promise<Answer> {
  return ok((await vault.keys.rewrapProgress(caller)) satisfies RewrapBody);
}

export async function retireTerm({ vault }: KeyParts, { caller, name }: Ask<unknown, unknown>): Promise<Answer> {
  const term = name("term");
  if (!/^[1-9][0-9]{0,8}$/.test(term)) throw new HatchwayError("invalid", "a term is a whole number from 1");
  await vault.keys.retire(caller, Number(term));
  return nothing;
}

export async function sealKeys({ sealing }: KeyParts, { caller }: Ask<unknown, unknown>): Promise<Answer> {
  await sealing.seal(caller);
  return nothing;
}

/** The body is what opens the keys, where the query says of what kind it is. */
export async function unsealKeys(
  { sealing }: KeyParts,
  { caller, query, value }: Ask<UnsealQuery, undefined>,
): Promise<Answer> {
  const { by } = query;
  if (by === undefined && (value?.length ?? 0) > 0) {
    throw new HatchwayError(
      "invalid",
      "the body is not said to be anything: by=key-file, age or passphrase is missing",
    );
  }
  const opener = by && { kind: by, secret: value ?? Buffer.alloc(0) };
  return ok((await sealing.unseal(caller, opener)) satisfies UnsealedBody);
}

export async function backupKeys(
  { vault }: KeyParts,
  { caller, json }: Ask<undefined, { recipient: string }>,
): Promise<Answer> {
  const sealed = await vault.keys.backup(caller, json.recipient);
  return ok({ age: sealed.toString("base64") } satisfies KeyBackupBody);
}
