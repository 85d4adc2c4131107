// What the query of a request may say, as zod schemas; that of a value, which says what bodies do, is in ./schemas.ts.
import { z } from "@hono/zod-openapi";
import { quoted } from "#admin/json-value";
import type { UnsealQuery, WayQuery } from "#api";
import type { TrailFilter } from "#trail";
import { vmNameProblem } from "#protocol/names";
import { VERBS, type Verb } from "#role";
import { parseVersion, VMMS, WIRED, type Version, type VmmName, type WiredChannel } from "#wiring";
import { file, named, number, secretName, yes, type Said } from "./schemas.ts";

const UNIT = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const DURATION = /^(?:[0-9]{1,7}(?:ms|s|m|h))+$/;
/** Milliseconds, from a duration as Go and Slicer write it: `30s`, `1m30s`, `500ms`. At most a day. */
const duration = z.string().transform((text, context) => {
  const terms = DURATION.test(text) ? text.matchAll(/([0-9]+)(ms|s|m|h)/g) : [];
  let total = 0;
  for (const [, count, unit] of terms) total += Number(count) * UNIT[unit as keyof typeof UNIT];
  if (DURATION.test(text) && total <= 24 * UNIT.h) return total;
  context.addIssue({ code: "custom", message: `${quoted(text)} is not a duration up to 24h, such as 30s or 1m30s` });
  return z.NEVER;
});

export interface WaitQuery {
  wait?: "agent" | "synced" | undefined;
  timeout?: number | undefined;
}
const wait = {
  wait: z.enum(["agent", "synced"], "is neither agent nor synced").optional(),
  timeout: duration.optional(),
};
export const waitQuery: z.ZodType<WaitQuery> = z.strictObject(wait);
export const launchQuery: z.ZodType<WaitQuery & { launch?: boolean | undefined }> = z.strictObject({
  launch: yes.optional(),
  ...wait,
});
export const graceQuery: z.ZodType<{ grace?: number | undefined }> = z.strictObject({ grace: duration.optional() });

export interface CanQuery {
  verb: Verb;
  secret?: string | undefined;
  vm?: string | undefined;
}
export const canQuery: z.ZodType<CanQuery> = z.strictObject({
  verb: z.enum(VERBS, `is none of ${VERBS.join(", ")}`),
  secret: secretName.optional(),
  vm: named(vmNameProblem).optional(),
});

const lines = z
  .string()
  .regex(/^[0-9]{1,5}$/, "is not a number up to 99999")
  .transform(Number);
export interface LogQuery {
  lines?: number | undefined;
  follow?: boolean | undefined;
}
/** RFC 3339 with its zone, or a day. */
const moment = z.string().transform((text, context) => {
  const time = /^\d{4}-\d\d-\d\d(?:T[0-9:.]+(?:Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return time;
  context.addIssue({ code: "custom", message: `${quoted(text)} is not a time such as 2026-01-31T12:00:00Z` });
  return z.NEVER;
});
export const wayQuery: z.ZodType<WayQuery> = z.strictObject({
  kind: z.enum(
    ["key-file", "systemd-credential", "age", "passphrase"],
    "is none of key-file, systemd-credential, age, passphrase",
  ),
  path: file.optional(),
  credential: z
    .string()
    .regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/, "is not a credential's name")
    .optional(),
  recipient: z.string().optional(),
  identity: file.optional(),
});

export const unsealQuery: z.ZodType<UnsealQuery> = z.strictObject({
  by: z.enum(["key-file", "age", "passphrase"], "is none of key-file, age, passphrase").optional(),
});

/** The query of `GET /vms/NAME/arguments` and `GET /vms/NAME/channels`, read. */
export interface WiringSaid {
  vmm?: VmmName | undefined;
  channel?: WiredChannel | undefined;
  qemu?: Version | undefined;
  file?: string | undefined;
  guest?: "systemd" | "other" | undefined;
  systemd?: number | undefined;
  memory_mib?: number | undefined;
  allow_reserved?: boolean | undefined;
}

const version = z.string().transform((text, context) => {
  const parsed = /^[0-9]{1,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?$/.test(text) ? parseVersion(text) : undefined;
  if (parsed) return parsed;
  context.addIssue({ code: "custom", message: `${quoted(text)} is not a version such as 7.2 or 7.2.22` });
  return z.NEVER;
});

export const wiringQuery: z.ZodType<WiringSaid> = z.strictObject({
  vmm: z.enum(VMMS, `is none of ${VMMS.join(", ")}`).optional(),
  channel: z.enum(WIRED, `is none of ${WIRED.join(", ")}`).optional(),
  qemu: version.optional(),
  file: file.optional(),
  guest: z.enum(["systemd", "other"], "is neither systemd nor other").optional(),
  systemd: number.optional(),
  memory_mib: number.pipe(z.int().min(64, "is below 64").max(1_048_576, "is above 1048576")).optional(),
  allow_reserved: yes.optional(),
});

export const trailQuery: z.ZodType<Said<TrailFilter>> = z.strictObject({
  since: moment.optional(),
  until: moment.optional(),
  op: z
    .string()
    .regex(/^[a-z.-]{1,40}\*?$/, "is not an operation such as secret.update or secret.*")
    .optional(),
  secret: secretName.optional(),
  vm: named(vmNameProblem).optional(),
});

export const logQuery: z.ZodType<LogQuery> = z.strictObject({
  lines: lines.optional(),
  follow: yes.optional(),
});

export interface BackupQuery {
  secrets?: string[] | undefined;
  recipients?: string[] | undefined;
}
const parts = (text: string): string[] => text.split(",");
/** The query of `/backup`; both are lists with commas. */
export const backupQuery: z.ZodType<BackupQuery> = z.strictObject({
  secrets: z.string().transform(parts).pipe(z.array(secretName).max(100, "has more than 100 names")).optional(),
  recipients: z.string().transform(parts).pipe(z.array(z.string()).max(20, "has more than 20 recipients")).optional(),
});
