// The JSON files of a backup: how they are written, and the only form that is read.
import { z } from "zod";
import type { BackupGrant, BackupHead, BackupSecret, BackupVersion, BackupVm } from "#backup";
import { HatchwayError } from "#error";
import { MAX_VALUE_SIZE, secretNameProblem, vmNameProblem } from "#protocol/names";
import type { OnChange } from "#protocol/manifest";
import type { Delivery, DeliveryChange } from "#secret";
import type { FirmwareOptions, LaunchOptions } from "#vm";

export const FORMAT = 1;
/** Bytes of one JSON file, at most: a row of the store holds no more. */
export const MAX_JSON = 2_097_152;

/** One member of each key, so that a noun with a new field does not compile before backups know it. */
type Members<T> = { [Key in keyof Required<T>]: z.ZodType };

const time = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
const count = z.int().min(0);
const secretName = z.string().refine((name) => secretNameProblem(name) === undefined, "is not a secret's name");
const vmName = z.string().refine((name) => vmNameProblem(name) === undefined, "is not a vm's name");
const who = z.union([z.int().min(0), z.string()]);
const onChange = z.custom<OnChange>((json) => typeof json === "object" && json !== null, "is not an object");

const deliveryMembers = {
  file: z.boolean(),
  env: z.string().optional(),
  path: z.string().optional(),
  mode: z.string(),
  user: who,
  group: who,
  link: z.string().optional(),
  onChange: onChange.optional(),
} satisfies Members<Delivery>;

const changeMembers = {
  file: z.boolean().optional(),
  env: z.string().nullable().optional(),
  path: z.string().nullable().optional(),
  mode: z.string().optional(),
  user: who.optional(),
  group: who.optional(),
  link: z.string().nullable().optional(),
  onChange: onChange.nullable().optional(),
} satisfies Members<DeliveryChange>;

const firmwareMembers = {
  kind: z.enum(["fw-cfg", "smbios"]),
  reader: z.enum(["agent", "systemd"]),
  allowReserved: z.boolean(),
} satisfies Members<FirmwareOptions>;

const launchMembers = {
  kernel: z.string().optional(),
  initrd: z.string().optional(),
  disk: z.strictObject({ path: z.string(), format: z.enum(["raw", "qcow2"]) }).optional(),
  memoryMiB: count,
  cpus: count,
  append: z.string().optional(),
  channel: z.literal("tcp").optional(),
  firmware: z.strictObject(firmwareMembers).optional(),
  secretsDisk: z.enum(["erofs", "squashfs", "iso", "sealed"]).optional(),
  share: z.strictObject({ by: z.enum(["9p", "virtiofs"]), form: z.enum(["sealed", "plain"]) }).optional(),
  enrol: z.strictObject({ by: z.enum(["fw-cfg", "smbios"]), reboots: z.int().min(0) }).optional(),
} satisfies Members<LaunchOptions>;

const head = z.strictObject({
  format: z.literal(FORMAT),
  hatchway: z.string(),
  made_at: time,
  store: z.strictObject({ epoch: z.string().regex(/^[0-9a-f]{32}$/), revision: count }),
  only: z.array(secretName).optional(),
  secrets: count,
  vms: count,
  values: count,
  bytes: count,
} satisfies Members<BackupHead>);

const version = z.strictObject({
  version: z.int().min(1),
  size: count.max(MAX_VALUE_SIZE),
  at: time,
} satisfies Members<BackupVersion>);

const secret = z.strictObject({
  name: secretName,
  created_at: time,
  modified_at: time,
  description: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  default: z.literal(true).optional(),
  delivery: z.strictObject(deliveryMembers),
  versions: z
    .array(version)
    .min(1)
    .refine((all) => all.every((one, at) => at === 0 || one.version < (all[at - 1]?.version ?? 0)), "are not in order"),
} satisfies Members<BackupSecret>);

const grant = z.strictObject({
  secret: secretName,
  change: z.strictObject(changeMembers),
  pin: z.int().min(1).optional(),
  attached_at: time,
} satisfies Members<BackupGrant>);

const adoption = z.union([
  z.strictObject({ by: z.enum(["uds", "qmp"]), path: z.string() }),
  z.strictObject({ by: z.literal("libvirt"), domain: z.string() }),
  z.strictObject({ by: z.literal("pid") }),
]);

const vm = z.strictObject({
  name: vmName,
  created_at: time,
  runner: z.strictObject({ uid: count, gid: count }),
  group: z.string().optional(),
  launch: z.strictObject(launchMembers).optional(),
  adopted: adoption.optional(),
  cid: z.int().min(3).max(4_294_967_294).optional(),
  grants: z.array(grant),
} satisfies Members<BackupVm>);

/** As a person may read it. */
export function encodeWords(words: BackupHead | BackupSecret | BackupVm | { sha256: string }): Buffer {
  return Buffer.from(`${JSON.stringify(words, null, 2)}\n`);
}

/** Throws "unsupported" for a backup of a newer format, "corrupt" for what is none. */
export function decodeHead(bytes: Buffer): BackupHead {
  const json = parse(bytes, "backup.json");
  const format = typeof json === "object" && json !== null && "format" in json ? json.format : undefined;
  if (typeof format === "number" && format > FORMAT) {
    throw new HatchwayError("unsupported", `the backup has format ${format}, and this version reads ${FORMAT}`, {
      hint: "restore it with a newer hatchway",
    });
  }
  return read(head, json, "backup.json") as BackupHead;
}

/** Throws "corrupt". */
export function decodeSecret(bytes: Buffer, path: string): BackupSecret {
  return read(secret, parse(bytes, path), path) as BackupSecret;
}

/** Throws "corrupt". */
export function decodeVm(bytes: Buffer, path: string): BackupVm {
  return read(vm, parse(bytes, path), path) as BackupVm;
}

function parse(bytes: Buffer, path: string): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch (cause) {
    throw new HatchwayError("corrupt", `the backup's file "${path}" is not JSON`, { cause });
  }
}

function read(schema: z.ZodType, json: unknown, path: string): unknown {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const at = issue?.path.join(".") ?? "";
  throw new HatchwayError(
    "corrupt",
    `the backup's file "${path}" breaks a rule${at === "" ? "" : ` at ${at}`}: ${issue?.message ?? "invalid"}`,
    { cause: result.error },
  );
}
