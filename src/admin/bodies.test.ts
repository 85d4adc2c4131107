import { describe, test } from "vitest";
import { deliveryChange, grantBody, secretBody, vmRequest, wholeDelivery } from "#admin/bodies";
import { isSynced } from "#vm";
import { attachment, read, secretChange, secretCreation, valueQuery, vmCreation } from "#admin/schemas";
import { waitQuery } from "#admin/queries";
import { defaultDelivery, type Secret } from "#secret";
import type { Convergence } from "#vm";

const root = { kind: "unix", uid: 1000, gid: 1001, pid: 1 } as const;
const secret: Secret = {
  id: "0".repeat(32),
  name: "db",
  version: 3,
  size: 11,
  delivery: { ...defaultDelivery, env: "DB", user: "app" },
  createdAt: 0,
  modifiedAt: 1_700_000_000_123,
};

test("a secret has Slicer's fields and ours", ({ expect }) => {
  expect(secretBody(secret)).toEqual({
    name: "db",
    size: 11,
    permissions: "0600",
    uid: 0,
    gid: 0,
    owner: "app",
    mod_time: "2023-11-14T22:13:20.123Z",
    modified_at: "2023-11-14T22:13:20.123Z",
    created_at: "1970-01-01T00:00:00.000Z",
    version: 3,
    delivery: "file+env",
    env: "DB",
  });
});

test("a grant shows the delivery that holds for it", ({ expect }) => {
  const grant = { secretId: secret.id, secretName: "db", change: { env: null, path: "conf/db" }, attachedAt: 0 };
  const body = grantBody({ grant, secret, newest: 3 });
  expect(body).toMatchObject({ delivery: "file", path: "conf/db", owner: "app", version: 3 });
  expect(body).not.toHaveProperty("env");
});

test("a pinned grant says so, and what it keeps from the vm", ({ expect }) => {
  const grant = { secretId: secret.id, secretName: "db", change: {}, pin: 3, attachedAt: 0 };
  expect(grantBody({ grant, secret, newest: 5 })).toMatchObject({ version: 3, pinned: true, newest: 5 });
});

test("a change says what the request says, and nothing of what it leaves out", ({ expect }) => {
  expect(deliveryChange({})).toEqual({});
  expect(deliveryChange({ uid: 0, gid: 0 })).toEqual({ user: 0, group: 0 });
  expect(deliveryChange({ permissions: "640" })).toEqual({ mode: "0640" });
  expect(deliveryChange({ env: null, owner: "app" })).toEqual({ env: null, user: "app" });
});

describe("env alone makes no file", () => {
  test("unless a file or a path is asked for", ({ expect }) => {
    expect(wholeDelivery({ env: "A" })).toEqual({ env: "A", file: false });
    expect(wholeDelivery({ env: "A", path: "a" })).toEqual({ env: "A", path: "a" });
    expect(wholeDelivery({ env: "A", file: true, permissions: "0400" })).toEqual({
      env: "A",
      file: true,
      mode: "0400",
    });
    expect(wholeDelivery({ uid: 5 })).toEqual({ user: 5 });
  });

  test("so it has no mode or owner", ({ expect }) => {
    expect(() => wholeDelivery({ env: "A", permissions: "0600" })).toThrow("permissions is of a file");
    expect(() => wholeDelivery({ env: "A", owner: "app" })).toThrow("owner is of a file");
  });
});

test("a vm without a list of secrets gets what the host's setting says, with an empty one none", async ({ expect }) => {
  const all = { start: false, attachDefault: "all" } as const;
  expect(await vmRequest({ name: "a" }, root, all)).toEqual({
    name: "a",
    runner: { uid: 1000, gid: 1001 },
    grants: [],
    all: true,
  });
  expect(await vmRequest({ name: "a", secrets: [] }, root, all)).not.toHaveProperty("all");
  expect(await vmRequest({ name: "a" }, root, { ...all, attachDefault: "defaults" })).not.toHaveProperty("all");
});

test("a vm's request with everything", async ({ expect }) => {
  const said = read(
    vmCreation.schema,
    {
      name: "a",
      runner: "root",
      launch: { cpus: 2, disk: import.meta.filename },
      secrets: ["x", { name: "y", env: "Y" }],
    },
    "key",
  );
  expect(await vmRequest(said, root, { start: true, attachDefault: "all" })).toEqual({
    name: "a",
    runner: { uid: 0, gid: 0 },
    launch: { cpus: 2, disk: { path: import.meta.filename, format: "raw" }, memoryMiB: 256 },
    grants: [
      { secret: "x", change: {} },
      { secret: "y", change: { env: "Y", file: false } },
    ],
    defaults: true,
  });
  await expect(
    vmRequest({ name: "a", runner: "nobody-here" }, root, { start: false, attachDefault: "all" }),
  ).rejects.toThrow('runner "nobody-here" is not a user of this host');
});

test.for([
  ["no list", undefined, undefined, "defaults", { defaults: true }],
  ["no list, and all are attached", undefined, undefined, "all", { all: true }],
  ["no list, and the defaults refused", undefined, false, "all", {}],
  ["a list", ["x"], undefined, "all", { defaults: true }],
  ["a list, and the defaults refused", ["x"], false, "defaults", {}],
  ["an empty list", [], undefined, "all", {}],
] as const)("what comes with %s", async ([, secrets, byDefault, attachDefault, expected], { expect }) => {
  const said = { name: "a", secrets: secrets && [...secrets], default_secrets: byDefault };
  const { all, defaults } = await vmRequest(said, root, { start: false, attachDefault });
  expect({ ...(all && { all }), ...(defaults && { defaults }) }).toEqual(expected);
});

test("what is no disk is refused when the vm is made", async ({ expect }) => {
  for (const [disk, code] of [
    ["/nowhere/disk", "not-found"],
    ["/dev/null", "invalid"],
    [import.meta.dirname, "invalid"],
  ] as const) {
    const request = vmRequest({ name: "a", launch: { disk } }, root, { start: false, attachDefault: "defaults" });
    await expect(request).rejects.toMatchObject({ code });
  }
});

test("a guest is in sync when it has applied the wanted revision, all of it", ({ expect }) => {
  const applied = { counter: 4, outcome: "applied", at: 0, refused: [], mount: "tmpfs", agent: "1" } as const;
  const convergence: Convergence = { generation: 1, wanted: 4, disclosed: 4, claimed: true, alarms: [] };
  expect(isSynced(convergence)).toBe(false);
  expect(isSynced({ ...convergence, applied: { ...applied, refused: [] } })).toBe(true);
  expect(isSynced({ ...convergence, wanted: 5, applied: { ...applied, refused: [] } })).toBe(false);
  expect(isSynced({ ...convergence, applied: { ...applied, outcome: "failed", refused: [] } })).toBe(false);
  expect(isSynced({ ...convergence, applied: { ...applied, refused: [{ name: "x", reason: "y" }] } })).toBe(false);
});

describe("refused, with a line that names the rule", () => {
  const create = secretCreation.schema;
  test.for([
    ["name is not a string", create, {}],
    ['name "a/b" is not a secret name', create, { name: "a/b" }],
    ['permissions "0999" is not a mode: four octal digits', create, { name: "a", permissions: "0999" }],
    ["permissions is not a string", create, { name: "a", permissions: 384 }],
    ['permissions "10600" is not a mode', create, { name: "a", permissions: "10600" }],
    ["uid is below 0", create, { name: "a", uid: -1 }],
    ["uid is not an integer from 0 to", create, { name: "a", uid: "0" }],
    ["uid is above", create, { name: "a", uid: 4_294_967_295 }],
    ["uid and owner exclude each other", create, { name: "a", uid: 1, owner: "app" }],
    ["gid and group exclude each other", create, { name: "a", gid: 1, group: "app" }],
    ['env "LD_PRELOAD" would change how programs are loaded or run', create, { name: "a", env: "LD_PRELOAD" }],
    ['path "../x" has the component ".."', create, { name: "a", path: "../x" }],
    ['link "x" is not absolute', create, { name: "a", link: "x" }],
    ["on_change value: not a systemd unit's full name", create, { name: "a", on_change: { reload: "x" } }],
    ["on_change value: not one of reload, restart", create, { name: "a", on_change: { run: "x" } }],
    ['unknown key "name"', secretChange.schema, { name: "b" }],
    ['unknown key "secret"', attachment.schema, { secret: "b" }],
    ["uid is not a number", valueQuery, { uid: "1.5" }],
    ["on_change is not JSON", valueQuery, { on_change: "{" }],
    ['unknown key "value"', valueQuery, { value: "x" }],
    ["wait is neither agent nor synced", waitQuery, { wait: "boot" }],
    ['timeout "-1s" is not a duration', waitQuery, { wait: "agent", timeout: "-1s" }],
    ['timeout "25h" is not a duration up to 24h', waitQuery, { timeout: "25h" }],
    ['name "_a" is not a vm name', vmCreation.schema, { name: "_a" }],
    ["secrets is not an array", vmCreation.schema, { name: "a", secrets: {} }],
    ['secrets.0 "b c" is not a secret name', vmCreation.schema, { name: "a", secrets: ["b c"] }],
    ['unknown key "mode" in secrets.0', vmCreation.schema, { name: "a", secrets: [{ name: "b", mode: "0600" }] }],
    [
      'secrets.1.env "1" is not an environment',
      vmCreation.schema,
      { name: "a", secrets: ["c", { name: "b", env: "1" }] },
    ],
    ["runner is neither a user name nor a uid", vmCreation.schema, { name: "a", runner: 1.5 }],
    ['launch.kernel "k" is not an absolute path', vmCreation.schema, { name: "a", launch: { kernel: "k" } }],
    ["launch.memory_mib is below 64", vmCreation.schema, { name: "a", launch: { memory_mib: 1 } }],
  ] as const)("%s", ([message, schema, input], { expect }) => {
    expect(() => read<unknown>(schema, input, "key")).toThrow(message);
  });

  test("an empty query parameter takes what it names away", ({ expect }) => {
    expect(deliveryChange(read(valueQuery, { env: "", path: "", link: "", on_change: "" }, "key"))).toEqual({
      env: null,
      path: null,
      link: null,
      onChange: null,
    });
  });

  test("durations as Go writes them", ({ expect }) => {
    expect(read(waitQuery, { wait: "agent", timeout: "1m30s" }, "key")).toEqual({ wait: "agent", timeout: 90_000 });
    expect(read(waitQuery, { timeout: "500ms" }, "key")).toEqual({ timeout: 500 });
  });
});
