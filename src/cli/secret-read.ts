// secret list, show, check: metadata, and never a value.
import type { SecretBody } from "#api";
import { exitCode, HatchwayError } from "#error";
import { stripControl } from "#printable";
import { DEFAULT_MOUNT_ROOT, secretNameProblem } from "#protocol/names";
import { describeLabels, labelFilter } from "./about-flags.ts";
import { formatAge, formatBytes } from "./quantity.ts";
import type { Session } from "./session.ts";
import { formatFields, formatTable, SECRET_COLUMNS } from "./table.ts";

export async function listSecrets(
  session: Session,
  _operands: readonly string[],
  flags: { verbose?: true; label?: string[] },
): Promise<undefined> {
  const wanted = labelFilter(flags.label ?? []);
  const secrets = (await session.client.secrets()).filter(wanted);
  session.report(secrets, () => {
    if (flags.verbose !== true) {
      return formatTable(
        [{ title: "NAME" }],
        secrets.map(({ name }) => [name]),
      );
    }
    return formatTable(SECRET_COLUMNS, secrets.map(secretRow));
  });
}

function secretRow({ name, size, permissions, uid, gid, owner, group }: SecretBody): string[] {
  return [name, String(size), permissions, owner ?? String(uid), group ?? String(gid)];
}

export async function showSecret(session: Session, operands: readonly string[]): Promise<undefined> {
  const [name = ""] = operands;
  const { client } = session;
  const [secret, vms] = await Promise.all([client.secret(name), client.holders(name)]);
  session.report({ ...secret, vms }, () =>
    formatFields([
      ["name", secret.name],
      ["description", secret.description === undefined ? undefined : stripControl(secret.description)],
      ["labels", describeLabels(secret)],
      ["size", formatBytes(secret.size)],
      ["version", String(secret.version)],
      ["file", describeFile(secret)],
      ["link", secret.link],
      ["variable", secret.env],
      ["on change", secret.on_change === undefined ? undefined : JSON.stringify(secret.on_change)],
      ["default", secret.default === true ? "attached to every new VM" : undefined],
      ["created", `${secret.created_at} (${formatAge(secret.created_at)})`],
      ["changed", `${secret.modified_at} (${formatAge(secret.modified_at)})`],
      ["attached to", vms.length === 0 ? "no VM" : vms.join(", ")],
    ]),
  );
}

/** The file that a delivery makes; undefined where it makes none. */
export function describeFile(
  secret: Pick<SecretBody, "name" | "delivery" | "path" | "permissions" | "uid" | "gid" | "owner" | "group">,
): string | undefined {
  if (secret.delivery === "env") return undefined;
  const path = `${DEFAULT_MOUNT_ROOT}/${secret.path ?? secret.name}`;
  return `${path}, mode ${secret.permissions}, owner ${secret.owner ?? secret.uid}:${secret.group ?? secret.gid}`;
}

/** The names that are missing, one a line; "not-found"'s exit code if there are any. */
export async function checkSecrets(session: Session, operands: readonly string[]): Promise<number> {
  for (const name of operands) {
    const problem = secretNameProblem(name);
    if (problem !== undefined) throw new HatchwayError("invalid", `"${name}" ${problem}`);
  }
  const present = new Set((await session.client.secrets()).map(({ name }) => name));
  const missing = [...new Set(operands)].filter((name) => !present.has(name));
  if (session.json) session.printJson({ missing });
  else for (const name of missing) session.print(name);
  if (missing.length === 0) return 0;
  if (!session.json) session.hint(`set each with: hatchway secret set NAME`);
  return exitCode["not-found"];
}
