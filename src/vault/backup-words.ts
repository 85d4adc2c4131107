// What a backup says of records, and the records that come of that again.
import { aboutProblem, mergeAbout } from "#about";
import type { BackupGrant, BackupItem, BackupSecret, BackupVm } from "#backup";
import { HatchwayError } from "#error";
import { mergeDelivery, type Grant } from "#grant";
import { checkEntries } from "#protocol/manifest";
import { checkDelivery, manifestEntry } from "#vault/delivery";
import type { GrantsRecord, SecretRecord, VersionRecord, VmRecord } from "#vault/records";
import { Rows } from "#vault/rows";
import { atVersion, versionsOf } from "#vault/secret-record";

/** A record of which these are all fields: one that gets another does not compile before backups know it. */
type Known<T, Keys extends keyof T> = Exclude<keyof T, Keys> extends never ? T : never;
type KnownVersion = "version" | "size" | "valueAt" | "hasNul" | "history";
type KnownAbout = "description" | "labels" | "default";
type KnownSecret = "id" | "name" | "delivery" | "createdAt" | "modifiedAt" | KnownAbout | KnownVersion;

export function secretWords(record: Known<SecretRecord, KnownSecret>): BackupSecret {
  const { name, delivery, createdAt, modifiedAt, description, labels, default: isDefault } = record;
  return {
    name,
    created_at: timeText(createdAt),
    modified_at: timeText(modifiedAt),
    ...(description !== undefined && { description }),
    ...(labels && { labels }),
    ...(isDefault && { default: isDefault }),
    delivery,
    versions: versionsOf(record).map((one) => ({ version: one.version, size: one.size, at: timeText(one.valueAt) })),
  };
}

/** `names` are those of the secrets, by id; a grant of one that is gone is left out, as it gives nothing. */
export function vmWords(
  record: Known<VmRecord, "id" | "name" | "runner" | "group" | "launch" | "adopted" | "cid" | "createdAt">,
  grants: GrantsRecord | undefined,
  names: ReadonlyMap<string, string>,
): BackupVm {
  const { name, runner, group, launch, adopted, cid, createdAt } = record;
  return {
    name,
    created_at: timeText(createdAt),
    runner,
    ...(group !== undefined && { group }),
    ...(launch && { launch }),
    ...(adopted && { adopted }),
    ...(cid !== undefined && { cid }),
    grants: (grants?.grants ?? []).flatMap((grant) => grantWords(grant, names)),
  };
}

type KnownGrant = Known<Grant, "secretId" | "secretName" | "change" | "pin" | "attachedAt">;

function grantWords(grant: KnownGrant, names: ReadonlyMap<string, string>): BackupGrant[] {
  const { secretId, change, pin, attachedAt } = grant;
  const secret = names.get(secretId);
  if (secret === undefined) return [];
  return [{ secret, change, ...(pin !== undefined && { pin }), attached_at: timeText(attachedAt) }];
}

/** What is to be written for a backup, in its order: a secret after its values, VMs last. */
export type Restoring =
  | { kind: "value"; id: string; version: number; bytes: Buffer }
  | { kind: "secret"; record: SecretRecord }
  | { kind: "vm"; vm: VmRecord; grants: Grant[] };

/**
 * The records of a backup, under new ids, checked as if they were made one by one. Throws "corrupt" for what breaks a
 * rule, and what reading the backup throws.
 */
export async function* recordsOf(items: AsyncIterable<BackupItem>): AsyncGenerator<Restoring> {
  const secrets = new Map<string, SecretRecord>();
  let pending: { id: string; secret: BackupSecret; versions: VersionRecord[] } | undefined;
  const finish = (): SecretRecord[] => {
    const record = pending && pending.versions.length > 0 ? secretRecord(pending) : undefined;
    pending = undefined;
    if (!record) return [];
    secrets.set(record.name, record);
    return [record];
  };
  for await (const item of items) {
    switch (item.kind) {
      case "head":
        break;
      case "secret":
        for (const record of finish()) yield { kind: "secret", record };
        pending = { id: Rows.newId(), secret: item.secret, versions: [] };
        break;
      case "value": {
        if (!pending) throw damaged("a value has no secret");
        const said = pending.secret.versions[pending.versions.length];
        if (!said) throw damaged(`secret "${item.name}" has a value too many`);
        const { version, size } = said;
        pending.versions.push({ version, size, valueAt: Date.parse(said.at), hasNul: item.bytes.includes(0) });
        yield { kind: "value", id: pending.id, version, bytes: item.bytes };
        break;
      }
      case "vm":
        for (const record of finish()) yield { kind: "secret", record };
        yield { kind: "vm", ...vmRecord(item.vm, secrets) };
        break;
    }
  }
  for (const record of finish()) yield { kind: "secret", record };
}

function secretRecord({
  id,
  secret,
  versions,
}: {
  id: string;
  secret: BackupSecret;
  versions: VersionRecord[];
}): SecretRecord {
  const { name, delivery, created_at: created, modified_at: modified } = secret;
  const [newest, ...history] = versions;
  if (!newest) throw damaged(`secret "${name}" has no value`);
  const record: SecretRecord = {
    id,
    name,
    delivery,
    ...mergeAbout(secret, {}),
    createdAt: Date.parse(created),
    modifiedAt: Date.parse(modified),
    ...newest,
    history,
  };
  checked(`secret "${name}"`, () => checkDelivery(record, delivery));
  const problem = aboutProblem(record);
  if (problem !== undefined) throw damaged(`secret "${name}": ${problem}`);
  return record;
}

function vmRecord(vm: BackupVm, secrets: ReadonlyMap<string, SecretRecord>): { vm: VmRecord; grants: Grant[] } {
  const { name, created_at: created, runner, group, launch, adopted, cid } = vm;
  const grants = vm.grants.map(({ secret, change, pin, attached_at: attached }) => {
    const record = secrets.get(secret);
    if (!record) throw damaged(`vm "${name}" has secret "${secret}", which is not in it`);
    const grant: Grant = {
      secretId: record.id,
      secretName: secret,
      change,
      ...(pin !== undefined && { pin }),
      attachedAt: Date.parse(attached),
    };
    return { grant, record };
  });
  if (new Set(grants.map(({ record }) => record.id)).size < grants.length) {
    throw damaged(`vm "${name}" has a secret twice`);
  }
  checked(`vm "${name}"`, () => {
    const entries = grants.map(({ grant, record }) => {
      const given = atVersion(record, grant.pin);
      checkDelivery(given, mergeDelivery(given.delivery, grant.change));
      return manifestEntry(given, grant);
    });
    checkEntries(entries.toSorted((a, b) => (a.name < b.name ? -1 : 1)));
  });
  const record: VmRecord = {
    id: Rows.newId(),
    name,
    runner,
    createdAt: Date.parse(created),
    ...(group !== undefined && { group }),
    ...(launch && { launch }),
    ...(adopted && { adopted }),
    ...(cid !== undefined && { cid }),
  };
  return { vm: record, grants: grants.map(({ grant }) => grant) };
}

function checked(what: string, check: () => void): void {
  try {
    check();
  } catch (cause) {
    throw damaged(`${what}: ${cause instanceof Error ? cause.message : "it breaks a rule"}`, cause);
  }
}

function damaged(what: string, cause?: unknown): HatchwayError {
  return new HatchwayError("corrupt", `the backup is damaged: ${what}`, cause === undefined ? {} : { cause });
}

function timeText(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
