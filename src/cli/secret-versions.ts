// secret history, rollback, rename: what happens to versions and names, and never to a value that could be seen.
import type { VersionBody } from "#api";
import { HatchwayError } from "#error";
import { secretNameProblem } from "#protocol/names";
import { formatAge, parseCount } from "./quantity.ts";
import { describe, reportChange, secretName, waitTimeout, type WaitFlags } from "./secret-write.ts";
import type { Session } from "./session.ts";
import { formatTable } from "./table.ts";

const COLUMNS = "VERSION,SIZE,STORED,CURRENT,PINNED BY".split(",").map((title) => ({ title }));

export async function showHistory(session: Session, operands: readonly string[]): Promise<undefined> {
  const versions = await session.client.history(secretName(operands));
  session.report(versions, () => formatTable(COLUMNS, versions.map(versionRow)));
}

function versionRow({ version, size, at, current, pinned_by: pinnedBy }: VersionBody): string[] {
  return [String(version), String(size), `${at} (${formatAge(at)})`, current ? "yes" : "-", pinnedBy.join(", ") || "-"];
}

export async function rollbackSecret(
  session: Session,
  operands: readonly string[],
  flags: WaitFlags & { to?: string },
): Promise<undefined> {
  const name = secretName(operands);
  const to = flags.to === undefined ? undefined : parseCount("--to", flags.to, 1);
  const timeout = waitTimeout(flags);
  const secret = await session.client.rollbackSecret(name, to);
  const from = to === undefined ? "the version before" : `version ${to}`;
  await reportChange(session, secret, `rolled back to the value of ${from}: ${describe(secret)}`, timeout);
}

export async function renameSecret(session: Session, operands: readonly string[]): Promise<undefined> {
  const name = secretName(operands);
  const to = operands[1] ?? "";
  const problem = secretNameProblem(to);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${to}" ${problem}`);
  const renamed = await session.client.renameSecret(name, to);
  session.report(renamed, () => {
    const noFile = renamed.path === undefined || renamed.delivery === "env";
    const path = noFile ? "" : `, its file still at ${renamed.path}`;
    const holders = renamed.vms.length === 0 ? "" : `: ${renamed.vms.join(", ")} keep it${path}`;
    return `renamed secret "${name}" to "${to}"${holders}`;
  });
}

/** What is missing on purpose says so. */
export async function refuseEdit(_session: Session, operands: readonly string[]): Promise<never> {
  const name = secretName(operands);
  throw new HatchwayError("unsupported", "a value cannot be edited: it goes in and is never shown back", {
    hint: `give it a new one with: hatchway secret set ${name}`,
  });
}
