// The answers' bodies as zod schemas, for `/openapi.json` and for the test that holds each route to it. The types in
// src/api.ts are what counts: a schema that does not fit its type does not compile.
import { z } from "@hono/zod-openapi";
import type {
  CanBody,
  ErrorBody,
  KeyBackupBody,
  KeysBody,
  UnsealedBody,
  RestoredBody,
  RewrapBody,
  SecretBody,
  SecretRemoved,
  SecretRenamed,
  StatusBody,
  TrailBody,
  VersionBody,
  WayBody,
  WhoamiBody,
} from "#api";
import type { ArgumentsBody, ChannelsBody, ConvergenceBody, GrantBody, HostGroupBody, NodeBody, VmBody } from "#api-vm";
import type { BackupContents } from "#backup";
import { ROLES } from "#role";
import { FORMS, VMMS, WIRED } from "#wiring";

/** As zod reads a type: an optional member may also be there and undefined. */
type Read<T> = T extends string | number | boolean
  ? T
  : T extends readonly (infer Element)[]
    ? Read<Element>[]
    : { [Key in keyof T]: Read<T[Key]> | undefined };
type Answer<T> = z.ZodType<Read<T>>;

const time = z.string().openapi({ format: "date-time", example: "2026-01-31T12:00:00.000Z" });
const count = z.int().min(0);
const mode = z.string().regex(/^0[0-7]{3}$/);
const way = z.enum(["file", "env", "file+env"]);

const delivered = {
  delivery: way,
  permissions: mode,
  uid: count.openapi({ description: "0 where owner names a guest user instead" }),
  gid: count,
  owner: z.string().optional(),
  group: z.string().optional(),
  path: z.string().optional(),
  env: z.string().optional(),
  link: z.string().optional(),
};

const onChange = z.union([
  z.strictObject({ reload: z.string() }),
  z.strictObject({ restart: z.string() }),
  z.strictObject({ signal: z.string(), pidFile: z.string() }),
  z.strictObject({ exec: z.array(z.string()) }),
]);

const secretShape = {
  name: z.string(),
  size: count.openapi({ description: "bytes of the value" }),
  ...delivered,
  mod_time: time,
  modified_at: time,
  created_at: time,
  version: count,
  on_change: onChange.optional(),
  description: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  default: z.literal(true).optional().openapi({ description: "it goes to every new VM that does not refuse it" }),
};

export const secret: Answer<SecretBody> = z.strictObject(secretShape).openapi("Secret");

export const secretRenamed: Answer<SecretRenamed> = z
  .strictObject({ ...secretShape, vms: z.array(z.string()) })
  .openapi("SecretRenamed");

export const version: Answer<VersionBody> = z
  .strictObject({ version: count, size: count, at: time, current: z.boolean(), pinned_by: z.array(z.string()) })
  .openapi("Version");

export const secretRemoved: Answer<SecretRemoved> = z
  .strictObject({ name: z.string(), vms: z.array(z.string()) })
  .openapi("SecretRemoved");

export const names: Answer<string[]> = z.array(z.string());

const launch = z.strictObject({
  kernel: z.string().optional(),
  initrd: z.string().optional(),
  disk: z.string().optional(),
  memory_mib: count.optional(),
  cpus: count.optional(),
  append: z.string().optional(),
  channel: z.enum(["virtio-serial", "tcp"]).optional(),
  firmware: z
    .strictObject({
      kind: z.enum(["fw-cfg", "smbios"]),
      reader: z.enum(["agent", "systemd"]).optional(),
      allow_reserved: z.boolean().optional(),
    })
    .optional(),
  secrets_disk: z.enum(["erofs", "squashfs", "iso", "sealed"]).optional(),
  share: z.strictObject({ by: z.enum(["9p", "virtiofs"]), form: z.enum(["sealed", "plain"]).optional() }).optional(),
  enrol: z.strictObject({ by: z.enum(["fw-cfg", "smbios"]), reboots: count }).optional(),
});

const convergence: Answer<ConvergenceBody> = z
  .strictObject({
    generation: count.openapi({ description: "boots that the host saw" }),
    wanted: count.openapi({ description: "the revision that the VM is to have" }),
    applied: count.optional().openapi({ description: "the revision that its agent says it has" }),
    in_sync: z.boolean(),
    applied_at: time.optional(),
    outcome: z.enum(["applied", "failed"]).optional(),
    refused: z.array(z.strictObject({ name: z.string(), reason: z.string() })),
    mount: z.string().optional(),
    agent: z.string().optional(),
    last_contact: time.optional(),
    enrolment: z
      .strictObject({
        state: z.enum(["waiting", "enrolled", "spent"]),
        reboots: count.openapi({ description: "for how many more boots the token is good" }),
      })
      .optional(),
    alarms: z.array(z.strictObject({ at: time, what: z.string(), count })),
  })
  .openapi("Convergence");

const state = z.enum(["defined", "running", "stopped", "failed"]);

export const vm: Answer<VmBody> = z
  .strictObject({
    name: z.string(),
    id: z.string(),
    state,
    reason: z.string().optional(),
    runner: z.strictObject({ uid: count, gid: count, name: z.string().optional() }),
    group: z.string().optional(),
    created_at: time,
    secrets: z.array(z.string()),
    pid: count.optional(),
    accelerator: z.enum(["kvm", "tcg"]).optional(),
    accelerator_reason: z.string().optional(),
    adopted: z
      .union([
        z.strictObject({ uds: z.string() }),
        z.strictObject({ qmp: z.string() }),
        z.strictObject({ libvirt: z.string() }),
        z.strictObject({ pid: z.null() }),
      ])
      .optional(),
    cid: count.optional(),
    problem: z.strictObject({ message: z.string(), hint: z.string().optional() }).optional(),
    launch: launch.optional(),
    channels: z.array(z.strictObject({ kind: z.enum(["vsock", "virtio-serial", "ssh"]), path: z.string() })),
    control_socket: z.string(),
    shell_socket: z.string().optional(),
    convergence,
  })
  .openapi("Vm");

export const vmmArguments: Answer<ArgumentsBody> = z
  .strictObject({
    vmm: z.enum(VMMS),
    qemu: z.string().optional(),
    channel: z.enum(WIRED),
    oem_prefix: z.string().optional(),
    forms: z.array(
      z.strictObject({
        name: z.enum(FORMS),
        what: z.string(),
        text: z.string(),
        words: z.array(z.string()).optional(),
      }),
    ),
    notes: z.array(z.string()),
  })
  .openapi("Arguments");

export const channels: Answer<ChannelsBody> = z
  .strictObject({
    vm: z.string(),
    vmm: z.enum(VMMS),
    qemu: z.string().optional(),
    guest: z.enum(["systemd", "other"]),
    systemd: count.optional(),
    secrets: count,
    bytes: count,
    channels: z.array(
      z.strictObject({
        name: z.string(),
        built: z.boolean(),
        fits: z.boolean(),
        chosen: z.boolean(),
        reason: z.string().optional(),
        instead: z.string().optional(),
        how: z.string(),
        measures: z.array(z.strictObject({ what: z.string(), size: count, limit: count })),
        lost: z.array(z.string()),
        needs: z.string().optional(),
        guest_readers: z.string().optional(),
        host_readers: z.string().optional(),
        fresh: z.string().optional(),
      }),
    ),
  })
  .openapi("Channels");

export const grant: Answer<GrantBody> = z
  .strictObject({
    name: z.string(),
    version: count,
    pinned: z.literal(true).optional(),
    newest: count.optional().openapi({ description: "the newest version, where it keeps an older one" }),
    size: count,
    ...delivered,
    attached_at: time,
  })
  .openapi("Grant");

export const hostGroup: Answer<HostGroupBody> = z
  .strictObject({ name: z.string(), count, ram_bytes: count, cpus: count, arch: z.string() })
  .openapi("HostGroup");

export const node: Answer<NodeBody> = z
  .strictObject({
    hostname: z.string(),
    hostgroup: z.string().optional(),
    ram_bytes: count.optional(),
    cpus: count.optional(),
    arch: z.string(),
    status: z.enum(["Running", "Stopped"]),
    created_at: time,
  })
  .openapi("Node");

export const nodeRemoved: Answer<{ message: string }> = z.strictObject({ message: z.string() });

export const rootWay: Answer<WayBody> = z
  .strictObject({
    name: z.string(),
    kind: z.enum(["key-file", "systemd-credential", "age", "passphrase"]),
    needs: z.string().openapi({ description: "a file, the name of a credential, a recipient" }),
  })
  .openapi("Way");

export const keys: Answer<KeysBody> = z
  .strictObject({
    sealed: z.boolean(),
    opened_by: z.string().optional().openapi({ description: "the name of the way that opened them" }),
    ways: z.array(rootWay),
    current: count.openapi({ description: "the term that new seals are made under" }),
    terms: z.array(z.strictObject({ term: count, created_at: time, rows: count })),
  })
  .openapi("Keys");

export const unsealed: Answer<UnsealedBody> = z
  .strictObject({ way: z.string().openapi({ description: "the name of the way that opened them" }) })
  .openapi("Unsealed");

export const term: Answer<{ term: number }> = z.strictObject({ term: count });

export const rewrap: Answer<RewrapBody> = z
  .strictObject({
    state: z.enum(["idle", "running", "done", "failed"]),
    done: count.openapi({ description: "rows that were sealed anew" }),
    seen: count.openapi({ description: "rows that this pass has looked at" }),
    problem: z.string().optional(),
  })
  .openapi("Rewrap");

export const keyBackup: Answer<KeyBackupBody> = z
  .strictObject({ age: z.string().openapi({ description: "an age file, in base64" }) })
  .openapi("KeyBackup");

export const backup: Answer<BackupContents> = z
  .strictObject({
    store: z.strictObject({ epoch: z.string(), revision: count }),
    secrets: z.array(z.strictObject({ name: z.string(), versions: count, bytes: count })),
    vms: z.array(z.string()),
    bytes: count.openapi({ description: "of all values" }),
  })
  .openapi("Backup");

export const restored: Answer<RestoredBody> = z.strictObject({ restored: z.array(z.string()) }).openapi("Restored");

const lineAt = z.strictObject({ seq: count, time });

export const trail: Answer<TrailBody> = z
  .strictObject({ files: count, lines: count, first: lineAt.optional(), last: lineAt.optional() })
  .openapi("Trail");

export const whoami: Answer<WhoamiBody> = z
  .strictObject({
    caller: z.string(),
    roles: z.array(z.strictObject({ role: z.enum(ROLES), secrets: z.string(), vms: z.string() })),
  })
  .openapi("Whoami");

export const can: Answer<CanBody> = z
  .strictObject({ allowed: z.boolean(), reason: z.string().optional() })
  .openapi("Can");

export const status: Answer<StatusBody> = z
  .strictObject({
    version: z.string(),
    pid: count,
    mode: z.enum(["system", "session", "embedded"]),
    state: z.string(),
    socket: z.string(),
    started_at: time,
    store: z.strictObject({
      kind: z.enum(["sqlite", "directory"]),
      epoch: z.string(),
      revision: count,
      folder: z.string().optional(),
      problems: z.array(z.strictObject({ name: z.string(), problem: z.string() })).optional(),
    }),
    sealed: z.boolean().openapi({ description: "whether the keys are; then what is stored is not known" }),
    secrets: count.optional(),
    vms: z
      .array(
        z.strictObject({
          name: z.string(),
          state,
          wanted: count,
          applied: count.optional(),
          in_sync: z.boolean(),
          last_contact: time.optional(),
        }),
      )
      .optional(),
  })
  .openapi("Status");

export const refusal: Answer<ErrorBody> = z
  .strictObject({ error: z.string(), code: z.string(), hint: z.string().optional() })
  .openapi("Error");

export function list<T>(of: z.ZodType<T>): z.ZodType<T[]> {
  return z.array(of);
}
