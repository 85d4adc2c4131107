// What becomes of a secret's record, without a store.
import { aboutProblem, mergeAbout } from "#about";
import { HatchwayError } from "#error";
import { mergeDelivery } from "#grant";
import { MAX_VALUE_SIZE, secretNameProblem } from "#protocol/names";
import { defaultDelivery, type Secret } from "#secret";
import type { SecretChange } from "#vault";
import { checkDelivery } from "#vault/delivery";
import type { SecretRecord, VersionRecord } from "#vault/records";
import { Rows } from "#vault/rows";

/** Versions of a value that are kept, the newest included: who is being served an older one gets it whole. */
export const KEPT_VERSIONS = 10;
/** Versions that one write lets go of, at most; the next one goes on. */
const DROPPED_AT_ONCE = 50;

export interface NextRecord {
  record: SecretRecord;
  /** Versions whose values are not kept any more. */
  dropped: number[];
}

/**
 * The record after `change`, made at `now`. Of the values the newest KEPT_VERSIONS are kept, and those of `pinned` versions. Throws
 * "invalid" for a change that breaks a rule, or brings no value to a secret that has none.
 */
export function nextRecord(
  name: string,
  before: SecretRecord | undefined,
  change: SecretChange,
  pinned: ReadonlySet<number>,
  now: number,
): NextRecord {
  const metadata = {
    name,
    delivery: mergeDelivery(before?.delivery ?? defaultDelivery, change.delivery ?? {}),
    ...mergeAbout(before ?? {}, change.about ?? {}),
    createdAt: before?.createdAt ?? now,
    modifiedAt: now,
  };
  if (!change.value) {
    if (before) return checked({ ...metadata, id: before.id, ...versionOf(before), history: historyOf(before) }, []);
    throw new HatchwayError("invalid", `secret "${name}" has no value yet`, { hint: "give it one on stdin" });
  }
  const version: VersionRecord = {
    version: (before?.version ?? 0) + 1,
    size: change.value.length,
    valueAt: now,
    hasNul: change.value.includes(0),
  };
  const older = before ? [versionOf(before), ...historyOf(before)] : [];
  const outdated = older.filter((old) => old.version <= version.version - KEPT_VERSIONS && !pinned.has(old.version));
  const dropped = new Set(outdated.slice(-DROPPED_AT_ONCE).map((old) => old.version));
  const history = older.filter((old) => !dropped.has(old.version));
  return checked({ ...metadata, id: before?.id ?? Rows.newId(), ...version, history }, [...dropped]);
}

function checked(record: SecretRecord, dropped: number[]): NextRecord {
  checkDelivery(record, record.delivery);
  const problem = aboutProblem(record);
  if (problem !== undefined) throw new HatchwayError("invalid", `secret "${record.name}": ${problem}`);
  return { record, dropped };
}

function versionOf({ version, size, valueAt, hasNul }: VersionRecord): VersionRecord {
  return { version, size, valueAt, hasNul };
}

function historyOf({ history }: SecretRecord): VersionRecord[] {
  return history ?? [];
}

/** All versions whose values are kept, newest first. */
export function versionsOf(record: SecretRecord): VersionRecord[] {
  return [versionOf(record), ...historyOf(record)];
}

/** The secret as it is for a VM that keeps `version`; undefined: the newest. Throws "corrupt" if that is not kept. */
export function atVersion(record: SecretRecord, version: number | undefined): SecretRecord {
  if (version === undefined || version === record.version) return record;
  const kept = historyOf(record).find((old) => old.version === version);
  if (kept) return { ...record, ...kept };
  throw new HatchwayError("corrupt", `version ${version} of secret "${record.name}" is pinned, and is not kept`);
}

/** What may be seen of a record outside the vault. */
export function withoutInner(record: SecretRecord): Secret {
  const { id, name, version, size, delivery, createdAt, modifiedAt } = record;
  return { id, name, version, size, delivery, ...mergeAbout(record, {}), createdAt, modifiedAt };
}

export function checkSecretName(name: string): void {
  const problem = secretNameProblem(name);
  if (problem !== undefined) throw new HatchwayError("invalid", `"${name.slice(0, 120)}" ${problem}`);
}

export function checkSize(name: string, value: Buffer | undefined): void {
  if (value && value.length > MAX_VALUE_SIZE) {
    throw new HatchwayError(
      "too-large",
      `the value of secret "${name}" has ${value.length} bytes, more than ${MAX_VALUE_SIZE} (1 MiB)`,
    );
  }
}

export function unknownSecret(name: string): HatchwayError {
  return new HatchwayError("not-found", `there is no secret "${name}"`, {
    hint: `set it with: hatchway secret set ${name}`,
  });
}
