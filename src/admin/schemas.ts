// What requests may say, as zod schemas: they check what comes in, and `/openapi.json` is made of them.
import { z } from "@hono/zod-openapi";
import { quoted } from "#admin/json-value";
import { descriptionProblem, labelKeyProblem, labelValueProblem } from "#about";
import type { AboutBody, DeliveryBody, RenameRequest, RollbackRequest, SecretRequest } from "#api";
import type {
  AdoptBody,
  AttachRequest,
  FirmwareBody,
  ImageRequest,
  TokenRequest,
  PushRequest,
  LaunchBody,
  NodeRequestBody,
  ProcessRequest,
  ShareBody,
  VmRequestBody,
} from "#api-vm";
import { HatchwayError } from "#error";
import { ProtocolError } from "#protocol/error";

import { parseOnChange, type OnChange } from "#protocol/manifest";
import {
  envNameProblem,
  linkProblem,
  MAX_ID,
  pathProblem,
  revisionProblem,
  secretNameProblem,
  userNameProblem,
  vmNameProblem,
} from "#protocol/names";
import { SEALED_FORMATS } from "#protocol/sealed";

/** A body as zod gives it: an optional member may also be there and undefined. */
export type Said<T> = { [Key in keyof T]: T[Key] | undefined };

/** A JSON object that a request may have: its schema, and its keys, which are checked before anything is parsed. */
export interface Form<T> {
  schema: z.ZodType<T>;
  keys: ReadonlySet<string>;
}

function form<T>(schema: z.ZodObject & z.ZodType<T>): Form<T> {
  return { schema, keys: new Set(Object.keys(schema.shape)) };
}

/**
 * Reads `input` by `schema`, or throws HatchwayError "invalid" with the first problem, one line. `what` is what a
 * member is called: "key" or "query parameter".
 */
export function read<T>(schema: z.ZodType<T>, input: unknown, what: string): T {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const { issue, path } = firstIssue(result.error.issues, []);
  const at = path.join(".");
  if (issue?.code === "unrecognized_keys") {
    const inside = at === "" ? "" : ` in ${at}`;
    throw new HatchwayError("invalid", `unknown ${what} ${quoted(issue.keys[0] ?? "")}${inside}`);
  }
  throw new HatchwayError("invalid", `${at} ${issue?.message ?? "is not valid"}`.trim(), { cause: result.error });
}

/** The first problem; of a union, that of the form which was meant: the one whose type fits. */
function firstIssue(
  issues: readonly z.core.$ZodIssue[],
  above: readonly PropertyKey[],
): { issue: z.core.$ZodIssue | undefined; path: PropertyKey[] } {
  const [issue] = issues;
  const path = [...above, ...(issue?.path ?? [])];
  const meant =
    issue?.code === "invalid_union" &&
    issue.errors.find((branch) => branch[0]?.code !== "invalid_type" || branch[0].path.length > 0);
  return meant ? firstIssue(meant, path) : { issue, path };
}

/** A string that has no `problem`; the message quotes it. */
export function named(problem: (text: string) => string | undefined): z.ZodString {
  return z.string("is not a string").superRefine((text, context) => {
    const why = problem(text);
    if (why !== undefined) context.addIssue({ code: "custom", message: `${quoted(text)} ${why}` });
  });
}

const OCTAL = /^0?[0-7]{3}$/;
const permissions = named((mode) =>
  OCTAL.test(mode) ? undefined : 'is not a mode: four octal digits such as "0600", or three',
).openapi({ example: "0600" });
const id = z.int(`is not an integer from 0 to ${MAX_ID}`).min(0, "is below 0").max(MAX_ID, `is above ${MAX_ID}`);
const user = named(userNameProblem);

const onChange: z.ZodType<OnChange> = z
  .unknown()
  .transform((json, context) => {
    try {
      return parseOnChange(json as never, "value");
    } catch (thrown) {
      if (!(thrown instanceof ProtocolError)) throw thrown;
      context.addIssue({ code: "custom", message: thrown.message });
      return z.NEVER;
    }
  })
  .openapi({ type: "object", description: "one of reload, restart, signal with pidFile, exec" });

const delivery = {
  permissions: permissions.optional(),
  uid: id.optional(),
  gid: id.optional(),
  owner: user.optional(),
  group: user.optional(),
  file: z.boolean("is neither true nor false").optional(),
  path: named(pathProblem).nullable().optional(),
  env: named(envNameProblem).nullable().optional(),
  link: named(linkProblem).nullable().optional(),
  on_change: onChange.nullable().optional(),
};

const label = named(labelValueProblem).nullable();
const about = {
  description: named(descriptionProblem).nullable().optional(),
  labels: z.record(named(labelKeyProblem), label, "is not an object").optional(),
  default: z.boolean("is neither true nor false").optional(),
};

/** Only so that the key is known and documented: it is out of the body before a schema sees it. */
const data = z
  .string()
  .optional()
  .openapi({ format: "byte", description: "the value in base64; read as bytes, before anything else" });

/** A number and a name of the same thing exclude each other. */
function oneOwner(said: Said<DeliveryBody>, context: z.RefinementCtx): void {
  for (const [number, name] of [["uid", "owner"] as const, ["gid", "group"] as const]) {
    if (said[number] === undefined || said[name] === undefined) continue;
    context.addIssue({ code: "custom", message: `${number} and ${name} exclude each other` });
  }
}

/** `POST /secrets` */
export const secretCreation: Form<Said<SecretRequest> & { name: string }> = form(
  z.strictObject({ name: named(secretNameProblem), data, ...delivery, ...about }).superRefine(oneOwner),
);

/** `PATCH /secrets/NAME` */
export const secretChange: Form<Said<Omit<SecretRequest, "name">>> = form(
  z.strictObject({ data, ...delivery, ...about }).superRefine(oneOwner),
);

/** `POST /secrets/NAME/rollback` */
export const rollback: Form<Said<RollbackRequest>> = form(
  z.strictObject({ to: z.int("is not an integer").min(1, "is below 1").optional() }),
);

/** `POST /secrets/NAME/rename` */
export const renaming: Form<RenameRequest> = form(z.strictObject({ to: named(secretNameProblem) }));

const attached = { ...delivery, pin: z.boolean("is neither true nor false").optional() };

/** `PUT /vms/NAME/secrets/SECRET` */
export const attachment: Form<Said<AttachRequest>> = form(z.strictObject(attached).superRefine(oneOwner));

/** An absolute path. */
export const file: z.ZodString = named((path) =>
  /^\/[^\p{Cc}]{0,4094}$/u.test(path) ? undefined : "is not an absolute path without control characters",
);
const kernelWords = named((words) =>
  /^[ -~]{0,1024}$/.test(words) ? undefined : "is not of at most 1,024 printable ascii characters",
);
const firmware: z.ZodType<Said<FirmwareBody> & Pick<FirmwareBody, "kind">> = z.strictObject({
  kind: z.enum(["fw-cfg", "smbios"], "is neither fw-cfg nor smbios"),
  reader: z.enum(["agent", "systemd"], "is neither agent nor systemd").optional(),
  allow_reserved: z.boolean("is neither true nor false").optional(),
});
const reboots = z.int("is not an integer").min(0, "is below 0").max(1_000_000, "is above 1000000");
const launch: z.ZodType<LaunchSaid> = z.strictObject({
  kernel: file.optional(),
  initrd: file.optional(),
  disk: file.optional(),
  memory_mib: z.int("is not an integer").min(64, "is below 64").max(1_048_576, "is above 1048576").optional(),
  cpus: z.int("is not an integer").min(1, "is below 1").max(255, "is above 255").optional(),
  append: kernelWords.optional(),
  channel: z.enum(["virtio-serial", "tcp"], "is neither virtio-serial nor tcp").optional(),
  firmware: firmware.optional(),
  secrets_disk: z.enum(["erofs", "squashfs", "iso", "sealed"], "is none of erofs, squashfs, iso, sealed").optional(),
  share: z
    .strictObject({
      by: z.enum(["9p", "virtiofs"], "is neither 9p nor virtiofs"),
      form: z.enum(["sealed", "plain"], "is neither sealed nor plain").optional(),
    })
    .optional(),
  enrol: z.strictObject({ by: z.enum(["fw-cfg", "smbios"], "is neither fw-cfg nor smbios"), reboots }).optional(),
});
export const secretName: z.ZodString = named(secretNameProblem);
const grant = z.union([secretName, z.strictObject({ name: secretName, ...attached }).superRefine(oneOwner)]);
const runner = z.union([user, z.int().min(0).max(4_294_967_294)], "is neither a user name nor a uid");

const domain = named((name) =>
  /^[^-./\p{Cc}][^/\p{Cc}]{0,199}$/u.test(name) ? undefined : "is not the name of a domain of libvirt",
);
const pid = z.int("is not an integer").min(1, "is below 1").max(4_194_304, "is above 4194304");
const cid = z
  .int("is not an integer")
  .min(3, "is below 3: 0 to 2 are taken, by vsock(7)")
  .max(4_294_967_294, "is above 4294967294");
const adopt: z.ZodType<Said<AdoptBody>> = z.strictObject({
  uds: file.optional(),
  qmp: file.optional(),
  libvirt: domain.optional(),
  pid: pid.optional(),
  cid: cid.optional(),
});

/** `POST /vms/NAME/process` */
export const processReport: Form<ProcessRequest> = form(z.strictObject({ pid }));

/** What `POST /vms` says, read. */
export type VmSaid = Said<Omit<VmRequestBody, "secrets" | "launch" | "adopt">> & {
  adopt?: Said<AdoptBody> | undefined;
  name: string;
  secrets?: (string | (Said<AttachRequest> & { name: string }))[] | undefined;
  launch?: LaunchSaid | undefined;
};

export type LaunchSaid = Said<Omit<LaunchBody, "firmware" | "share">> & {
  share?: (Said<ShareBody> & Pick<ShareBody, "by">) | undefined;
  firmware?: (Said<FirmwareBody> & Pick<FirmwareBody, "kind">) | undefined;
};

export const vmCreation: Form<VmSaid> = form(
  z.strictObject({
    name: named(vmNameProblem),
    secrets: z.array(grant, "is not an array").max(4096, "has more than 4096 elements").optional(),
    default_secrets: z.boolean("is neither true nor false").optional(),
    runner: runner.optional(),
    launch: launch.optional(),
    cid: cid.optional(),
    adopt: adopt.optional(),
  }),
);

/** `POST /hostgroup/NAME/nodes` */
export const nodeCreation: Form<Said<NodeRequestBody>> = form(
  z.strictObject({
    secrets: z.array(secretName, "is not an array").max(4096, "has more than 4096 elements").optional(),
    ram_bytes: z
      .int("is not an integer")
      .min(67_108_864, "is below 64 MiB")
      .max(2 ** 40, "is above 1 TiB")
      .optional(),
    cpus: z.int("is not an integer").min(1, "is below 1").max(255, "is above 255").optional(),
  }),
);

/** In a query. */
export const number: z.ZodType<number> = z
  .string()
  .regex(/^[0-9]{1,7}$/, "is not a number")
  .transform(Number)
  .pipe(id);
export const yes: z.ZodType<boolean> = z
  .enum(["true", "false"], "is neither true nor false")
  .transform((word) => word === "true");
const json = z.string().transform((text, context): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    // The engine's error would quote what it read.
    context.addIssue({ code: "custom", message: "is not JSON" });
    return z.NEVER;
  }
});

/** In a query, an empty parameter takes away what it names. */
function orTaken<T>(inner: z.ZodType<T>): z.ZodType<T | null | undefined> {
  return z.union([inner, z.literal("").transform(() => null)]).optional();
}

/** The query of `PUT /secrets/NAME/value`: how the value is delivered, and what is said of it; `labels` is JSON. */
export const valueQuery: z.ZodType<Said<DeliveryBody & AboutBody>> = z
  .strictObject({
    ...delivery,
    uid: number.optional(),
    gid: number.optional(),
    file: yes.optional(),
    path: orTaken(named(pathProblem)),
    env: orTaken(named(envNameProblem)),
    link: orTaken(named(linkProblem)),
    on_change: orTaken(json.pipe(onChange)),
    description: orTaken(named(descriptionProblem)),
    labels: json.pipe(z.record(named(labelKeyProblem), label, "is not an object")).optional(),
    default: yes.optional(),
  })
  .superRefine(oneOwner);

/** `POST /keys/backup` */
export const keyBackup: Form<{ recipient: string }> = form(
  z.strictObject({ recipient: z.string("is not a string").max(2_048, "has more than 2048 characters") }),
);

/** `POST /vms/NAME/token` */
export const tokenRequest: Form<Said<TokenRequest>> = form(z.strictObject({ reboots: reboots.optional() }));

/** `POST /vms/NAME/image` */
export const imageRequest: Form<Said<ImageRequest> & Pick<ImageRequest, "format">> = form(
  z.strictObject({
    format: z.enum(SEALED_FORMATS, `is none of ${SEALED_FORMATS.join(", ")}`),
    label: z.string("is not a string").max(64, "has more than 64 characters").optional(),
    recipient: z.string("is not a string").max(2_048, "has more than 2048 characters").optional(),
    have: named(revisionProblem).optional(),
    wait: z.int("is not an integer").min(0, "is below 0").max(60, "is above 60").optional(),
  }),
);

export const push: Form<PushRequest> = form(
  z.strictObject({ revision: named(revisionProblem), mount: z.enum(["tmpfs", "tmpfs,noswap", "ramfs"]) }),
);
