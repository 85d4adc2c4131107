import { HatchwayError } from "#error";
import { mergeDelivery, type Grant } from "#grant";
import { asciiBytes, parseJson } from "#protocol/json";
import { parseOnChange, type ManifestEntry } from "#protocol/manifest";
import { envNameProblem, idProblem, linkProblem, modeProblem, pathProblem, userNameProblem } from "#protocol/names";
import type { Delivery } from "#secret";
import type { SecretRecord } from "#vault/records";

/** Refuses a delivery that breaks a rule by itself. Rules between secrets are the bundle's. */
export function checkDelivery(secret: SecretRecord, delivery: Delivery): void {
  const { env, path, mode, user, group, link, onChange } = delivery;
  if (!delivery.file && env === undefined) {
    throw new HatchwayError("invalid", `secret "${secret.name}" is neither a file nor a variable`);
  }
  check("path", path ?? secret.name, delivery.file ? pathProblem(path ?? secret.name) : undefined);
  check("mode", mode, modeProblem(mode));
  check("owner", user, whoProblem(user));
  check("group", group, whoProblem(group));
  if (link !== undefined) check("link", link, linkProblem(link));
  if (env !== undefined) {
    check("variable", env, envNameProblem(env));
    if (secret.hasNul) {
      throw new HatchwayError("invalid", `secret "${secret.name}" holds a NUL byte and cannot be variable "${env}"`, {
        hint: "deliver it as a file",
      });
    }
  }
  if (onChange !== undefined) checkOnChange(onChange);
}

/** The manifest's entry of a secret that a VM was given. */
export function manifestEntry(
  secret: Pick<SecretRecord, "name" | "version" | "size" | "delivery">,
  grant: Grant,
): ManifestEntry {
  const { file, env, path, mode, user, group, link, onChange } = mergeDelivery(secret.delivery, grant.change);
  return {
    name: secret.name,
    version: secret.version,
    size: secret.size,
    ...(file && { file: { path: path ?? secret.name, mode, user, group, ...(link !== undefined && { link }) } }),
    ...(env !== undefined && { env }),
    ...(onChange && { onChange }),
  };
}

function whoProblem(who: number | string): string | undefined {
  return typeof who === "number" ? idProblem(who) : userNameProblem(who);
}

function check(what: string, value: number | string, problem: string | undefined): void {
  if (problem !== undefined) throw new HatchwayError("invalid", `${what} "${String(value).slice(0, 160)}" ${problem}`);
}

function checkOnChange(onChange: Delivery["onChange"]): void {
  try {
    parseOnChange(parseJson(asciiBytes(JSON.stringify(onChange)), "on-change"), "on-change");
  } catch (cause) {
    throw new HatchwayError("invalid", cause instanceof Error ? cause.message : "on-change breaks a rule", { cause });
  }
}
