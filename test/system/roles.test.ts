// Roles as the configuration gives them: to tokens here, over TCP, with the commands that people type.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, test } from "vitest";
import { Daemon } from "#daemon/daemon";
import { call } from "#test/kit/http";
import { runCli, type Outcome } from "#test/kit/run-cli";
import { auditLines } from "#test/kit/vault";

async function run(program: string, words: readonly string[]): Promise<string> {
  return (await promisify(execFile)(program, words, { cwd: "/" })).stdout;
}

let folder: string;
let socket: string;
let daemon: Daemon | undefined;

beforeEach(() => {
  folder = mkdtempSync("/tmp/hw.");
  socket = join(folder, "run/hatchway.sock");
  mkdirSync(join(folder, "c"), { mode: 0o700 });
  for (const id of ["ci", "view"]) writeFileSync(join(folder, id), randomBytes(32).toString("hex"), { mode: 0o600 });
  writeFileSync(
    join(folder, "c/config.yaml"),
    `listen: ["127.0.0.1:0"]
tokens: {ci: ${folder}/ci, view: ${folder}/view}
roles:
  - {role: operator, token: ci, secrets: ci-*, vms: ci-*}
  - {role: reader, token: view}
`,
  );
});
afterEach(async () => {
  await daemon?.close();
  daemon = undefined;
  rmSync(folder, { recursive: true });
});

async function serve(): Promise<string> {
  const places = {
    state: join(folder, "s"),
    config: join(folder, "c/config.yaml"),
    runtime: join(folder, "run"),
    socket,
  };
  const started = await Daemon.start({
    mode: "session",
    places,
    echo: false,
    onFatal: (error) => started.log.report(error),
  });
  daemon = started;
  const [, address] = /serves on (\S+:\d+)\n/.exec(await started.log.tail(5)) ?? [];
  return `http://${address}`;
}

test("a token does what its role allows, is told what it may, and leaves a line where it may not", async ({
  expect,
}) => {
  const uri = await serve();
  for (const name of ["ci-key", "root-key"]) await call(socket, "PUT", `/secrets/${name}/value`, "v");
  await call(socket, "POST", "/vms", JSON.stringify({ name: "ci-1", secrets: ["root-key"] }));
  const as = (id: string, ...words: string[]): Promise<Outcome> =>
    runCli(["-c", uri, ...words], { env: { HATCHWAY_TOKEN_FILE: join(folder, id) }, stdin: "new" });

  expect(await as("ci", "whoami")).toEqual({
    code: 0,
    stderr: "",
    stdout: expect.stringMatching(/^token:ci\n\nROLE +SECRETS +VMS *\n[- ]+\noperator +ci-\* +ci-\*\n$/) as string,
  });
  expect(await as("ci", "can", "attach", "secret/ci-key", "vm/ci-1")).toMatchObject({ code: 0, stdout: "yes\n" });
  expect(await as("ci", "can", "attach", "secret/root-key", "vm/ci-1")).toMatchObject({
    code: 5,
    stdout: 'no: no role of token:ci allows grant.attach of secret "root-key" for vm "ci-1"\n',
  });
  expect(await as("ci", "can", "fly", "vm/ci-1")).toMatchObject({ code: 2 });
  expect(await as("ci", "can", "read", "ci-key")).toMatchObject({ code: 2 });

  expect((await as("ci", "vm", "attach", "ci-1", "ci-key")).code).toBe(0);
  expect((await as("ci", "secret", "update", "ci-key")).code).toBe(0);
  expect((await as("ci", "vm", "attach", "ci-1", "root-key")).code).toBe(5);
  expect((await as("ci", "secret", "remove", "ci-key")).code).toBe(5);
  expect((await as("ci", "logs")).code).toBe(5);
  expect((await as("ci", "secret", "list")).stdout).not.toContain("root-key");
  expect((await as("ci", "vm", "show", "ci-1", "--json")).stdout).not.toContain("root-key");
  expect((await as("view", "secret", "list")).stdout).toContain("root-key");
  expect((await as("view", "vm", "detach", "ci-1", "ci-key")).code).toBe(5);
  const disk = ["vm", "launch", "x", "--disk", "/nowhere/disk"];
  expect((await as("view", ...disk)).stderr).toContain("allows vm.create");
  expect((await as("view", "status", "--json")).stdout).toContain('"secrets": 2');

  const lines = auditLines(readFileSync(join(folder, "s/audit.jsonl"), "utf8"));
  const denied = lines.filter(({ outcome }) => outcome === "forbidden").map(({ caller, op }) => `${caller} ${op}`);
  expect(denied).toEqual([
    "token:ci grant.attach",
    "token:ci secret.remove",
    "token:ci daemon.logs",
    "token:view grant.detach",
    "token:view vm.create",
  ]);
});

test("a user of the host has the roles of his groups, his further ones too", async ({ expect }) => {
  const config = join(folder, "c/config.yaml");
  writeFileSync(config, "roles:\n  - {role: reader, gid: 1200, secrets: ci-*}\n", { mode: 0o600 });
  await serve();
  for (const name of ["ci-key", "root-key"]) await call(socket, "PUT", `/secrets/${name}/value`, "v");
  for (const path of [folder, join(folder, "run")]) chmodSync(path, 0o711);
  chmodSync(socket, 0o666);
  const ask = `require("node:http").get({ socketPath: process.argv[1], path: "/secrets" }, async (answer) => {
    for await (const chunk of answer) process.stdout.write(answer.statusCode + " " + chunk);
  })`;
  const as = (groups: string): Promise<string> =>
    run("setpriv", ["--reuid=65534", "--regid=65534", `--groups=${groups}`, "node", "-e", ask, socket]);
  expect(await as("1100,1200")).toMatch(/^200 .*ci-key/);
  expect(await as("1100,1200")).not.toContain("root-key");
  expect(await as("1100")).toContain('403 {"error":"no role of uid 65534 allows secret.list"');
});

test("a configuration that others can write to is refused, as is its folder", async ({ expect }) => {
  chmodSync(join(folder, "c/config.yaml"), 0o620);
  await expect(serve()).rejects.toMatchObject({
    code: "forbidden",
    hint: expect.stringContaining("chmod go-w") as string,
  });
  chmodSync(join(folder, "c/config.yaml"), 0o600);
  chmodSync(join(folder, "c"), 0o777);
  await expect(serve()).rejects.toThrow("others can write to it");
});
