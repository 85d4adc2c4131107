import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "vitest";
import type { SecretBody } from "#api";
import { runCli } from "#test/kit/run-cli";
import { scriptDaemon } from "#test/kit/scripted-daemon";

const secret: SecretBody = {
  name: "db",
  size: 11,
  permissions: "0600",
  uid: 0,
  gid: 0,
  version: 2,
  delivery: "file",
  mod_time: "2026-01-01T00:00:00.000Z",
  modified_at: "2026-01-01T00:00:00.000Z",
  created_at: "2026-01-01T00:00:00.000Z",
};

const writes = {
  "PUT /secrets/db/value": [201, secret],
  "PATCH /secrets/db": [200, secret],
} as const;

test("a value from stdin is sent verbatim", async ({ expect }) => {
  await using daemon = await scriptDaemon(writes);
  const value = Buffer.from([0, 10, 255, 13, 10]);
  const outcome = await runCli(["-c", daemon.uri, "secret", "create", "db"], { stdin: value });
  expect(outcome).toEqual({ code: 0, stdout: 'created secret "db" (11 bytes, version 2)\n', stderr: "" });
  expect(daemon.asked[0]?.body).toEqual(value);
});

test("a value from a file is sent verbatim, with its flags", async ({ expect }) => {
  await using daemon = await scriptDaemon(writes);
  const path = join(dirname(daemon.socket), "value");
  writeFileSync(path, "my secret\n");
  const flags = ["--permissions=0640", "--uid", "1000", "--gid", "1000"];
  expect(await runCli(["-c", daemon.uri, "secret", "create", "db", `--from-file=${path}`, ...flags])).toMatchObject({
    code: 0,
    stderr: "",
  });
  expect(daemon.asked[0]?.body.toString()).toBe("my secret\n");
  expect(daemon.asked[0]?.path).toBe("/secrets/db/value?permissions=0640&uid=1000&gid=1000");
});

test("a literal warns that it can be seen", async ({ expect }) => {
  await using daemon = await scriptDaemon(writes);
  const outcome = await runCli(["-c", daemon.uri, "secret", "create", "db", "--from-literal", "-x"]);
  expect(outcome.stderr).toMatch(/^warning: a value on the command line can be seen by other users.*\n$/);
  expect(daemon.asked[0]?.body.toString()).toBe("-x");
});

test.for([
  [["--from-literal=a", "--from-file=/b"], "--from-literal and --from-file both name a value"],
  [["--from-file=/absent"], 'there is no file "/absent"'],
  [["--from-file=/"], '"/" is a folder, not a file'],
  [["--permissions=9999", "--from-literal=a"], '--permissions "9999" is not a mode'],
  [["--uid=root"], '--uid "root" is not a uid or gid'],
] as const)("create with %j is refused, and nothing sent", async ([flags, message], { expect }) => {
  await using daemon = await scriptDaemon(writes);
  const outcome = await runCli(["-c", daemon.uri, "secret", "create", "db", ...flags], { stdin: "x" });
  expect(outcome).toMatchObject({ code: 2, stdout: "" });
  expect(outcome.stderr).toContain(`error: ${message}`);
  expect(daemon.asked).toEqual([]);
});

test("a name outside the grammar is refused before anything is read or sent", async ({ expect }) => {
  await using daemon = await scriptDaemon(writes);
  const outcome = await runCli(["-c", daemon.uri, "secret", "create", "../db"]);
  expect(outcome.code).toBe(2);
  expect(outcome.stderr).toContain('error: "../db" is not a secret name');
  expect(daemon.asked).toEqual([]);
});

test("an empty value needs --allow-empty", async ({ expect }) => {
  await using daemon = await scriptDaemon(writes);
  expect(await runCli(["-c", daemon.uri, "secret", "create", "db"])).toEqual({
    code: 2,
    stdout: "",
    stderr: 'error: the value for "db" is empty\nhint: if that is meant, pass --allow-empty\n',
  });
  expect(await runCli(["-c", daemon.uri, "secret", "create", "db", "--allow-empty"])).toMatchObject({ code: 0 });
  expect(daemon.asked[0]?.body.length).toBe(0);
});

test("1 MiB is a value, one byte more is not", async ({ expect }) => {
  await using daemon = await scriptDaemon(writes);
  const most = Buffer.alloc(1_048_576, "x");
  expect(await runCli(["-c", daemon.uri, "secret", "set", "db"], { stdin: most })).toMatchObject({ code: 0 });
  const more = Buffer.alloc(1_048_577, "x");
  const outcome = await runCli(["-c", daemon.uri, "secret", "set", "db"], { stdin: more });
  expect(outcome.code).toBe(2);
  expect(outcome.stderr).toContain('error: the value for "db" is larger than 1 MiB');
  expect(daemon.asked.length).toBe(1);
});

test("update with metadata alone never reads stdin and sends no value", async ({ expect }) => {
  await using daemon = await scriptDaemon(writes);
  const outcome = await runCli(["-c", daemon.uri, "secret", "update", "db", "--permissions", "0640"], { stdin: "x" });
  expect(outcome.code).toBe(0);
  expect(daemon.asked.map(({ method, body }) => [method, body.toString()])).toEqual([
    ["PATCH", '{"permissions":"0640"}'],
  ]);
});

test("update with metadata and a source changes both at once", async ({ expect }) => {
  await using daemon = await scriptDaemon(writes);
  await runCli(["-c", daemon.uri, "secret", "update", "db", "--gid=33", "--from-stdin"], { stdin: "new" });
  expect(daemon.asked.map(({ path, body }) => [path, body.toString()])).toEqual([["/secrets/db/value?gid=33", "new"]]);
});

test("a mode that lets everybody read is warned of", async ({ expect }) => {
  await using daemon = await scriptDaemon(writes);
  const outcome = await runCli(["-c", daemon.uri, "secret", "update", "db", "--mode", "0644"]);
  expect(outcome.stderr).toBe("warning: mode 0644 is wider than 0640: every user of the guest can read it\n");
});

const web = (inSync: boolean, state = "running"): object => ({
  name: "web",
  state,
  secrets: ["db"],
  convergence: {
    wanted: 3,
    applied: inSync ? 3 : 2,
    in_sync: inSync,
    refused: [],
    alarms: [],
    last_contact: secret.mod_time,
  },
});

test("--wait ends when every VM that has it is in sync", async ({ expect }) => {
  await using daemon = await scriptDaemon({
    ...writes,
    "GET /secrets/db/vms": [200, ["web"]],
    "GET /vms/web": [200, web(true)],
  });
  const outcome = await runCli(["-c", daemon.uri, "secret", "set", "db", "--wait"], { stdin: "x" });
  expect(outcome).toMatchObject({ code: 0, stderr: "" });
  expect(outcome.stdout).toContain("in sync: web\n");
});

test("--wait names those that are behind and exits 7", async ({ expect }) => {
  await using daemon = await scriptDaemon({
    ...writes,
    "GET /secrets/db/vms": [200, ["idle", "web"]],
    "GET /vms/idle": [200, { ...web(false, "stopped"), name: "idle" }],
    "GET /vms/web": ({ path }) =>
      path.includes("wait") ? [408, { error: "late", code: "timeout" }] : [200, web(false)],
  });
  const outcome = await runCli(["-c", daemon.uri, "secret", "set", "db", "--wait", "--timeout=1s"], { stdin: "x" });
  expect(outcome.code).toBe(7);
  expect(outcome.stdout).toContain("not running, gets it when started: idle\n");
  expect(outcome.stderr).toMatch(
    /^error: not in sync within 1s: web \(revision 2 of 3, last contact \d+d ago\)\nhint: /,
  );
});

test("list is Slicer's: header, rule, names", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "GET /secrets": [200, [secret]] });
  expect(await runCli(["-c", daemon.uri, "secret", "ls"])).toEqual({ code: 0, stdout: "NAME\n----\ndb\n", stderr: "" });
  const verbose = await runCli(["-c", daemon.uri, "secret", "list", "-v"]);
  expect(verbose.stdout.split("\n")[2]).toBe("db                        11         0600         0        0");
});

test("--json gives what the API gave, errors too", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "GET /secrets": [200, [secret]] });
  const listed = await runCli(["-c", daemon.uri, "secret", "list", "--json"]);
  expect(JSON.parse(listed.stdout)).toEqual([secret]);
  const failed = await runCli(["-c", daemon.uri, "--json", "secret", "show", "absent"]);
  expect(failed).toMatchObject({ code: 3, stdout: "" });
  expect(JSON.parse(failed.stderr)).toEqual({ error: "no route /secrets/absent", code: "not-found" });
});

test("check lists what is missing and exits 3", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "GET /secrets": [200, [secret]] });
  expect(await runCli(["-c", daemon.uri, "secret", "check", "db"])).toEqual({ code: 0, stdout: "", stderr: "" });
  expect(await runCli(["-c", daemon.uri, "secret", "check", "db", "a", "b"])).toEqual({
    code: 3,
    stdout: "a\nb\n",
    stderr: "hint: set each with: hatchway secret set NAME\n",
  });
});

test("remove says which VMs it was taken back from", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "DELETE /secrets/db": [200, { name: "db", vms: ["web", "ci"] }] });
  expect((await runCli(["-c", daemon.uri, "secret", "rm", "db"])).stdout).toBe(
    'removed secret "db": taken back from web, ci\n',
  );
});
