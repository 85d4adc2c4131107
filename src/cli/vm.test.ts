import { test } from "vitest";
import type { VmBody } from "#api-vm";
import { runCli } from "#test/kit/run-cli";
import { scriptDaemon } from "#test/kit/scripted-daemon";

const web: VmBody = {
  name: "web",
  id: "ab".repeat(16),
  state: "running",
  runner: { uid: 1000, gid: 1000, name: "ada" },
  created_at: "2026-01-01T00:00:00.000Z",
  secrets: ["db", "tls"],
  pid: 4711,
  accelerator: "tcg",
  accelerator_reason: "/dev/kvm is not there",
  channels: [{ kind: "vsock", path: "/run/web/vm.vsock" }],
  control_socket: "/run/web/control.sock",
  convergence: { generation: 1, wanted: 2, applied: 2, in_sync: true, refused: [], alarms: [] },
};

test("launch sends what was asked for and says what runs it", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "POST /vms": [201, web] });
  const flags = ["--secret", "db", "--secrets=tls", "--memory=1G", "--cpus=2", "--runner=ada", "--wait=agent"];
  expect(await runCli(["-c", daemon.uri, "vm", "launch", "web", ...flags])).toEqual({
    code: 0,
    stdout:
      'vm "web" is running (pid 4711) under emulation, not KVM: /dev/kvm is not there\n' +
      "it has 2 secrets, all in place: db, tls\n",
    stderr: "",
  });
  expect(daemon.asked[0]?.path).toBe("/vms?launch=true&wait=agent&timeout=30s");
  expect(JSON.parse(daemon.asked[0]?.body.toString() ?? "")).toEqual({
    name: "web",
    secrets: ["db", "tls"],
    runner: "ada",
    launch: { memory_mib: 1024, cpus: 2 },
  });
});

test.for([
  [[], undefined],
  [["--no-secrets"], []],
] as const)("with %j the list of secrets is %j", async ([flags, secrets], { expect }) => {
  await using daemon = await scriptDaemon({ "POST /vms": [201, web] });
  await runCli(["-c", daemon.uri, "vm", "create", "web", ...flags]);
  const request = JSON.parse(daemon.asked[0]?.body.toString() ?? "") as { secrets?: unknown };
  expect(request.secrets).toEqual(secrets);
});

test("NAME:AS is a path, or the variable of a secret that is only that", async ({ expect }) => {
  await using daemon = await scriptDaemon({
    "GET /secrets/db": [200, { name: "db", delivery: "env" }],
    "GET /secrets/tls": [200, { name: "tls", delivery: "file+env" }],
    "POST /vms": [201, web],
  });
  await runCli(["-c", daemon.uri, "vm", "launch", "web", "--secret", "db:PGPASSWORD", "--secret", "tls:nginx/key"]);
  const request = JSON.parse(daemon.asked[2]?.body.toString() ?? "") as { secrets?: unknown };
  expect(request.secrets).toEqual([
    { name: "db", env: "PGPASSWORD" },
    { name: "tls", path: "nginx/key" },
  ]);
});

test.for([
  [["--secret=db", "--no-secrets"], "--no-secrets and --secret contradict each other"],
  [["--secret=db", "--secrets=db"], 'secret "db" is given twice'],
  [["--secret=../x"], '"../x" is not a secret name'],
  [["--timeout=5s"], "--timeout is of --wait, which is not given"],
  [["--memory=much"], '--memory "much" is not an amount of memory'],
] as const)("launch with %j is refused, and nothing sent", async ([flags, message], { expect }) => {
  await using daemon = await scriptDaemon({ "POST /vms": [201, web] });
  const outcome = await runCli(["-c", daemon.uri, "vm", "launch", "web", ...flags]);
  expect(outcome.code).toBe(2);
  expect(outcome.stderr).toContain(`error: ${message}`);
  expect(daemon.asked).toEqual([]);
});

test("the console's last lines come as the hint of a launch that timed out", async ({ expect }) => {
  await using daemon = await scriptDaemon({
    "POST /vms": [408, { error: "the agent did not come", code: "timeout", hint: "console:\n\x1b[31mpanic\x07" }],
  });
  expect(await runCli(["-c", daemon.uri, "vm", "launch", "web", "--wait"])).toEqual({
    code: 7,
    stdout: "",
    stderr: "error: the agent did not come\nhint: console:\n      panic\n",
  });
});

test("list has one line a VM, and alarms are loud", async ({ expect }) => {
  const alarms = [{ at: new Date().toISOString(), what: "second claim", count: 2 }];
  const bad: VmBody = { ...web, name: "bad", convergence: { ...web.convergence, in_sync: false, applied: 1, alarms } };
  const fresh: VmBody = { ...web, name: "new", state: "defined", secrets: [], convergence: neverHeardOf };
  await using daemon = await scriptDaemon({ "GET /vms": [200, [bad, fresh, web]] });
  const outcome = await runCli(["-c", daemon.uri, "vm", "list"]);
  expect(outcome.stdout).toBe(
    [
      "NAME  STATE    SECRETS  REVISION  SYNC     LAST CONTACT",
      "----  -----    -------  --------  ----     ------------",
      "bad   running  2        1/2       behind   never",
      "new   defined  0        -/0       unknown  never",
      "web   running  2        2/2       in sync  never",
      "",
    ].join("\n"),
  );
  expect(outcome.stderr).toBe('ALARM: vm "bad": second claim, 2 times, last 0s ago\n');
});

const neverHeardOf = { generation: 0, wanted: 0, in_sync: false, refused: [], alarms: [] };

test("status shows what the guest refused, without its escape codes", async ({ expect }) => {
  const refused = [{ name: "db", reason: "no user \x1b[2Jpostgres" }];
  await using daemon = await scriptDaemon({
    "GET /vms/web": [200, { ...web, convergence: { ...web.convergence, in_sync: false, refused } }],
  });
  const outcome = await runCli(["-c", daemon.uri, "vm", "status", "web"]);
  expect(outcome.stdout).toContain("refused       db: no user postgres\n");
  expect(outcome.stdout).toContain("wanted        revision 2\n");
});

test("attach asks for each secret, --as by what the secret is", async ({ expect }) => {
  const grant = { name: "tls", version: 1, size: 3, delivery: "file", permissions: "0400", uid: 0, gid: 0 };
  await using daemon = await scriptDaemon({
    "GET /secrets/tls": [200, { name: "tls", delivery: "file" }],
    "PUT /vms/web/secrets/tls": [200, { ...grant, path: "nginx/key" }],
  });
  const outcome = await runCli(["-c", daemon.uri, "vm", "attach", "web", "tls", "--as", "nginx/key", "--mode=0400"]);
  expect(outcome).toMatchObject({ code: 0, stderr: "" });
  expect(outcome.stdout).toContain("tls     1        3     0400  0:0    /run/hatchway/secrets/nginx/key");
  expect(daemon.asked[1]?.body.toString()).toBe('{"path":"nginx/key","permissions":"0400"}');
});

test("one target for two secrets is refused", async ({ expect }) => {
  const outcome = await runCli(["vm", "attach", "web", "a", "b", "--as", "x"]);
  expect(outcome.code).toBe(2);
  expect(outcome.stderr).toContain("--as names one target, and 2 secrets are given");
});

test("detach, stop and remove say what they did", async ({ expect }) => {
  await using daemon = await scriptDaemon({
    "DELETE /vms/web/secrets/db": [204],
    "POST /vms/web/stop": [200, { ...web, state: "stopped", reason: "powered down" }],
    "DELETE /vms/web": [204],
  });
  const run = async (...argv: string[]): Promise<string> => (await runCli(["-c", daemon.uri, "vm", ...argv])).stdout;
  expect(await run("detach", "web", "db")).toBe('detached secret "db" from vm "web"\n');
  expect(await run("stop", "web", "--grace", "3s")).toBe('stopped vm "web": powered down\n');
  expect(await run("rm", "web")).toBe('removed vm "web", its secrets with it\n');
  expect(daemon.asked[1]?.path).toBe("/vms/web/stop?grace=3s");
});

test("logs are passed on as they are", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "GET /vms/web/logs": [200, Buffer.from("one\ntwo\n")] });
  expect((await runCli(["-c", daemon.uri, "vm", "logs", "web", "-n", "2"])).stdout).toBe("one\ntwo\n");
  expect(daemon.asked[0]?.path).toBe("/vms/web/logs?lines=2");
});

test("a VM without a shell port is said to have none", async ({ expect }) => {
  await using daemon = await scriptDaemon({ "GET /vms/web": [200, { ...web, state: "stopped" }] });
  const outcome = await runCli(["-c", daemon.uri, "vm", "shell", "web", "--", "ls", "--json"]);
  expect(outcome).toMatchObject({ code: 6, stderr: 'error: vm "web" has no shell port: it is stopped\n' });
});
