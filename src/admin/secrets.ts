// The actions on secrets: one call each into the vault.
import type { IncomingHttpHeaders } from "node:http";
import { aboutChange, deliveryChange, secretBody, versionBody, wholeDelivery } from "#admin/bodies";
import { created, ok, type Answer, type Ask } from "#admin/route";
import type { Said } from "#admin/schemas";
import type {
  AboutBody,
  DeliveryBody,
  RenameRequest,
  RollbackRequest,
  SecretRemoved,
  SecretRenamed,
  SecretRequest,
} from "#api";
import { HatchwayError } from "#error";
import type { Vault } from "#vault";

export interface SecretParts {
  vault: Vault;
}

export async function listSecrets({ vault }: SecretParts, { caller }: Ask<unknown, unknown>): Promise<Answer> {
  return ok((await vault.secrets(caller)).map(secretBody));
}

export async function showSecret({ vault }: SecretParts, { caller, name }: Ask<unknown, unknown>): Promise<Answer> {
  return ok(secretBody(await vault.secret(caller, name("name"))));
}

export async function createSecret(
  { vault }: SecretParts,
  { caller, json, value }: Ask<undefined, Said<SecretRequest> & { name: string }>,
): Promise<Answer> {
  if (!value) throw new HatchwayError("invalid", "data is missing: a new secret has a value");
  const change = { value, delivery: wholeDelivery(json), about: aboutChange(json) };
  const { secret } = await vault.putSecret(caller, json.name, "create", change);
  return created(secretBody(secret));
}

/**
 * Changes what the request says and nothing else. Slicer's clients send `data` always, empty when only something else
 * is to change, so an empty one leaves the value as it is.
 */
export async function changeSecret(
  { vault }: SecretParts,
  { caller, name, json, value }: Ask<undefined, Said<Omit<SecretRequest, "name">>>,
): Promise<Answer> {
  const delivery = deliveryChange(json);
  const about = aboutChange(json);
  const newValue = value && value.length > 0 ? { value } : {};
  if (!("value" in newValue) && Object.keys({ ...delivery, ...about }).length === 0) {
    throw new HatchwayError("invalid", "the request changes nothing", {
      hint: `to store an empty value, PUT it to /secrets/${name("name")}/value`,
    });
  }
  const { secret } = await vault.putSecret(caller, name("name"), "update", { ...newValue, delivery, about });
  return ok(secretBody(secret));
}

/** Stores the body verbatim as the value. */
export async function putValue(
  { vault }: SecretParts,
  { caller, name, query, value, headers }: Ask<Said<DeliveryBody & AboutBody>, undefined>,
): Promise<Answer> {
  const how = condition(headers);
  const delivery = how === "update" ? deliveryChange(query) : wholeDelivery(query);
  if (!value) throw new HatchwayError("internal", "the route takes no value");
  const put = await vault.putSecret(caller, name("name"), how, { value, delivery, about: aboutChange(query) });
  return put.created ? created(secretBody(put.secret)) : ok(secretBody(put.secret));
}

/** `If-None-Match: *` creates only, `If-Match: *` updates only (RFC 9110, section 13.1). */
function condition(headers: IncomingHttpHeaders): "create" | "update" | "set" {
  const match = headers["if-match"];
  const noneMatch = headers["if-none-match"];
  if (match === undefined && noneMatch === undefined) return "set";
  if (match === "*" && noneMatch === undefined) return "update";
  if (noneMatch === "*" && match === undefined) return "create";
  throw new HatchwayError("invalid", 'the one condition is to be "If-Match: *" or "If-None-Match: *"');
}

export async function removeSecret({ vault }: SecretParts, { caller, name }: Ask<unknown, unknown>): Promise<Answer> {
  const { vms } = await vault.removeSecret(caller, name("name"));
  return ok({ name: name("name"), vms } satisfies SecretRemoved);
}

/** The versions that are kept, newest first. */
export async function listVersions({ vault }: SecretParts, { caller, name }: Ask<unknown, unknown>): Promise<Answer> {
  return ok((await vault.history(caller, name("name"))).map(versionBody));
}

export async function rollbackSecret(
  { vault }: SecretParts,
  { caller, name, json }: Ask<undefined, Said<RollbackRequest>>,
): Promise<Answer> {
  return ok(secretBody(await vault.rollbackSecret(caller, name("name"), json.to)));
}

export async function renameSecret(
  { vault }: SecretParts,
  { caller, name, json }: Ask<undefined, RenameRequest>,
): Promise<Answer> {
  const { secret, vms } = await vault.renameSecret(caller, name("name"), json.to);
  return ok({ ...secretBody(secret), vms } satisfies SecretRenamed);
}

/** The names of the VMs that have it. */
export async function listHolders({ vault }: SecretParts, { caller, name }: Ask<unknown, unknown>): Promise<Answer> {
  return ok(await vault.holders(caller, name("name")));
}
