// secret import: many secrets at once, from where they were kept before. All is read and checked before any is stored.
import { HatchwayError, toHatchwayError } from "#error";
import { readBitwarden } from "#import/bitwarden";
import { readEnvFile } from "#import/env-file";
import { readFolder } from "#import/folder";
import type { Found, Imported } from "#import/imported";
import { readJsonSecrets } from "#import/json";
import { MAX_VALUE_SIZE, secretNameProblem } from "#protocol/names";
import { stripControl } from "#printable";
import { plural } from "./quantity.ts";
import type { Session } from "./session.ts";
import { formatTable } from "./table.ts";
import { readFile } from "./value.ts";

export interface ImportFlags {
  envFile?: string;
  dir?: string;
  jsonFile?: string;
  bitwarden?: string;
  dryRun?: true;
  overwrite?: true;
}

/** Bytes of a file to import, at most (64 MiB). */
const MAX_FILE = 67_108_864;
/** Names that a refusal lists. */
const LISTED = 5;

const READERS = { envFile: readEnvFile, jsonFile: readJsonSecrets, bitwarden: readBitwarden } as const;

export async function importSecrets(
  session: Session,
  [operand]: readonly string[],
  given: ImportFlags,
): Promise<undefined> {
  const flags = withOperand(given, operand);
  using found = readFound(flags);
  const { secrets, skipped } = found;
  checkAll(secrets);
  const there = new Set((await session.client.secrets()).map(({ name }) => name));
  const taken = secrets.filter(({ name }) => there.has(name)).map(({ name }) => name);
  if (flags.dryRun === true) {
    session.report({ secrets: secrets.map((one) => planned(one, there)), skipped }, () => planTable(secrets, there));
  }
  for (const { what, why } of skipped) session.warn(`skipped "${stripControl(what)}": ${why}`);
  if (taken.length > 0 && flags.overwrite !== true) {
    throw new HatchwayError("exists", `these exist already: ${listed(taken)}`, {
      hint: "to give them the new values, pass --overwrite",
    });
  }
  if (flags.dryRun === true) return;
  await storeAll(session, secrets, flags.overwrite === true ? "set" : "create");
  const created = secrets.map(({ name }) => name).filter((name) => !there.has(name));
  const body = { created, updated: taken, skipped };
  session.report(
    body,
    () => `imported ${plural(secrets.length, "secret")}: ${created.length} new, ${taken.length} updated`,
  );
  const source = flags.envFile ?? flags.jsonFile ?? flags.bitwarden ?? flags.dir;
  if (!session.json) session.hint(`"${source}" still holds the values: remove it when it is not needed any more`);
}

/** `import --json FILE`: the flag is the global one, so the file is what follows it. */
function withOperand(flags: ImportFlags, operand: string | undefined): ImportFlags {
  if (operand === undefined) return flags;
  if (flags.jsonFile === undefined) return { ...flags, jsonFile: operand };
  throw new HatchwayError("invalid", `"${operand}" and "${flags.jsonFile}" are both to be imported: one of them can`);
}

/** Disposing wipes what was read. */
function readFound(flags: ImportFlags): Found & Disposable {
  const sources = (["envFile", "dir", "jsonFile", "bitwarden"] as const).filter((flag) => flags[flag] !== undefined);
  const [source, second] = sources;
  const path = source && flags[source];
  if (source === undefined || path === undefined || second !== undefined) {
    throw new HatchwayError(
      "invalid",
      "one of --env-file, --dir, --json-file and --bitwarden is to say what is imported",
    );
  }
  if (source === "dir") return wiped(readFolder(path));
  const file = readFile(path, MAX_FILE);
  try {
    if (file.length > MAX_FILE) throw new HatchwayError("too-large", `"${path}" is larger than 64 MiB`);
    return wiped(READERS[source](file));
  } finally {
    file.fill(0);
  }
}

function wiped(found: Found): Found & Disposable {
  return {
    ...found,
    [Symbol.dispose]: () => {
      for (const { value } of found.secrets) value.fill(0);
    },
  };
}

function checkAll(secrets: readonly Imported[]): void {
  const seen = new Set<string>();
  for (const { name, value } of secrets) {
    const problem = secretNameProblem(name);
    if (problem !== undefined) throw new HatchwayError("invalid", `"${stripControl(name.slice(0, 120))}" ${problem}`);
    if (seen.has(name)) throw new HatchwayError("invalid", `secret "${name}" is there twice`);
    seen.add(name);
    if (value.length <= MAX_VALUE_SIZE) continue;
    throw new HatchwayError("too-large", `the value of "${name}" is larger than 1 MiB, the most that a secret holds`);
  }
  if (secrets.length === 0) throw new HatchwayError("invalid", "there is no secret to import");
}

async function storeAll(session: Session, secrets: readonly Imported[], how: "create" | "set"): Promise<void> {
  for (const [index, { name, value, metadata }] of secrets.entries()) {
    try {
      await session.client.putSecret(name, how, value, metadata);
    } catch (thrown) {
      const { code, message, hint } = toHatchwayError(thrown);
      const done = `${index} of ${plural(secrets.length, "secret")} were imported; "${name}" was not: ${message}`;
      throw new HatchwayError(code, done, { cause: thrown, ...(hint !== undefined && { hint }) });
    }
  }
}

function planned({ name, value }: Imported, there: ReadonlySet<string>): Record<string, unknown> {
  return { name, size: value.length, exists: there.has(name) };
}

function planTable(secrets: readonly Imported[], there: ReadonlySet<string>): string {
  const columns = ["NAME", "SIZE", "NOW"].map((title) => ({ title }));
  const rows = secrets.map(({ name, value }) => [name, String(value.length), there.has(name) ? "exists" : "new"]);
  return formatTable(columns, rows);
}

function listed(names: readonly string[]): string {
  const more = names.length > LISTED ? `, and ${names.length - LISTED} more` : "";
  return `${names.slice(0, LISTED).join(", ")}${more}`;
}
