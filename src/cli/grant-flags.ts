// Which secrets a new VM gets: `--secret NAME[:AS]`, `--secrets a,b` and `--no-secrets`.
import type { DeliveryBody, SecretBody } from "#api";
import type { GrantRequestBody } from "#api-vm";
import type { Client } from "#client/client";
import { HatchwayError } from "#error";
import { envNameProblem, pathProblem, secretNameProblem } from "#protocol/names";

export interface GrantFlags {
  secret?: string[];
  /** False: `--no-secrets`. */
  secrets?: string | false;
  /** False: `--no-default-secrets`. */
  defaultSecrets?: boolean;
}

/** Undefined when nothing was said. Throws "invalid"; "not-found" for a secret to be renamed that does not exist. */
export async function readGrants(client: Client, flags: GrantFlags): Promise<GrantRequestBody[] | undefined> {
  const words = [...(flags.secret ?? []), ...(typeof flags.secrets === "string" ? flags.secrets.split(",") : [])];
  if (flags.secrets === false) {
    if (words.length === 0) return [];
    throw new HatchwayError("invalid", "--no-secrets and --secret contradict each other");
  }
  if (words.length === 0) return undefined;
  const seen = new Set<string>();
  const asked = words.map((word) => {
    const [name, as] = splitOnce(word);
    const problem = secretNameProblem(name);
    if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
    if (seen.has(name)) throw new HatchwayError("invalid", `secret "${name}" is given twice`);
    seen.add(name);
    return { name, as };
  });
  return Promise.all(asked.map((grant) => grantRequest(client, grant)));
}

async function grantRequest(
  client: Client,
  { name, as }: { name: string; as: string | undefined },
): Promise<GrantRequestBody> {
  return as === undefined ? name : { name, ...renamed(await client.secret(name), as) };
}

/** What `AS` means: the variable of a secret that is nothing else, the file's path of all others. */
export function renamed(secret: SecretBody, as: string): DeliveryBody {
  const isVariable = secret.delivery === "env";
  const problem = isVariable ? envNameProblem(as) : pathProblem(as);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${as}" ${problem}`);
  return isVariable ? { env: as } : { path: as };
}

function splitOnce(word: string): [name: string, as?: string] {
  const colon = word.indexOf(":");
  return colon < 0 ? [word] : [word.slice(0, colon), word.slice(colon + 1)];
}
