// hatchway store migrate, as its user has it; and daemons that are killed while files and API change the same secrets.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, onTestFinished, test } from "vitest";
import type { SecretBody } from "#api";
import { Session } from "#test/kit/session";
import { until } from "#test/kit/until";

const ROUNDS = Number(process.env["HATCHWAY_KILL_ROUNDS"] ?? 3);
/** Milliseconds: many commands, one after the other, on a machine that may be busy. */
const LONG = 180_000;

async function made(): Promise<{ host: Session; folder: string }> {
  const host = new Session();
  onTestFinished(() => host[Symbol.asyncDispose]());
  return { host, folder: join(host.state, ".secrets") };
}

function configure(host: Session, text: string): void {
  mkdirSync(join(host.folder, "c/hatchway"), { recursive: true, mode: 0o700 });
  writeFileSync(join(host.folder, "c/hatchway/config.yaml"), text, { mode: 0o600 });
}

const values = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`s${at}`, `value ${at}`]));

async function store(host: Session, all: Record<string, string>): Promise<void> {
  for (const [name, value] of Object.entries(all)) await host.ok(["secret", "create", name], { stdin: value });
}

function filesIn(folder: string): Record<string, string> {
  const names = readdirSync(folder).filter((name) => !name.startsWith("."));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), "utf8")]));
}

test(
  "there and back: values, modes, versions and grants, and a line for each value that left",
  { timeout: LONG },
  async ({ expect }) => {
    const { host, folder } = await made();
    await host.serve();
    await store(host, values(3));
    await host.ok(["secret", "update", "s0", "--permissions", "0440", "--uid", "7", "--gid", "8"]);
    await host.ok(["vm", "create", "web-1", "--secret", "s0"]);
    const busy = await host.run(["store", "migrate", "sqlite", "directory", "--session"]);
    expect(busy).toMatchObject({
      code: 6,
      stderr: expect.stringContaining("hint: stop the daemon first: hatchway stop"),
    });
    await host.end("SIGTERM");

    const there = await host.run(["store", "migrate", "sqlite", "directory", "--session"]);
    expect(there.stderr).toContain("hint: to serve from it, set in");
    expect(there).toMatchObject({
      code: 0,
      stdout: `in ${folder}: 3 secrets, each read back and compared (3 files written)\n`,
    });
    expect(filesIn(folder)).toEqual(values(3));
    const { mode, uid, gid } = statSync(join(folder, "s0"));
    expect([mode & 0o7777, uid, gid, statSync(folder).mode & 0o777]).toEqual([0o440, 7, 8, 0o700]);
    expect(await host.ok(["store", "migrate", "sqlite", "directory", "--session"])).toContain("(0 files written)");

    await expect(host.serve()).rejects.toThrow(/the secrets of this store are in the folder/);
    configure(host, "store: directory\n");
    await host.serve();
    const status = await host.ok(["status"]);
    expect(status).toMatch(/^store +directory, revision/m);
    expect(status).toContain(folder);
    const audit = await host.ok(["audit", "export", "--op", "secret.export"]);
    const lines = audit
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, string>);
    expect(lines.map(({ phase, secret }) => `${phase} ${secret}`)).toEqual(
      ["s0", "s1", "s2"].flatMap((name) => [`intent ${name}`, `outcome ${name}`]),
    );
    expect(lines[0]?.["caller"]).toBe(`embedded:uid=0,store migrate to directory:${folder}`);
    writeFileSync(join(folder, "s1"), "by hand");
    await until("it is taken", async () => (await host.secret("s1")).version === 2);
    await host.end("SIGTERM");

    writeFileSync(join(folder, "s2"), "while stopped");
    const back = await host.run(["store", "migrate", "directory", "sqlite", "--session"]);
    expect(back.stdout).toBe("in the sealed store: 3 secrets, each read back and compared\n");
    expect(back.stderr).toContain("take store: directory out of");
    expect(back.stderr).toContain(`the plain files are still in ${folder}`);
    configure(host, "");
    const removed = await host.ok(["store", "migrate", "directory", "sqlite", "--remove-files", "--session"]);
    expect(removed).toContain("3 files overwritten and removed, of which a disk may keep copies");
    expect(readdirSync(folder)).toEqual([]);
    await host.serve();
    expect(await host.secret("s2")).toMatchObject({ version: 2, size: "while stopped".length });
    expect((await host.vm("web-1")).secrets).toEqual(["s0"]);
  },
);

test("what is in the way is not overwritten, and what is no secret is left", async ({ expect }) => {
  const { host } = await made();
  await host.serve();
  await store(host, values(2));
  await host.end("SIGTERM");
  const folder = join(host.folder, "files");
  const to = ["store", "migrate", "sqlite", `directory:${folder}`, "--session"];
  mkdirSync(folder, { mode: 0o700 });
  writeFileSync(join(folder, "s1"), "somebody's");
  expect(await host.run(to)).toMatchObject({ code: 4, stderr: expect.stringContaining("of their names: s1\n") });
  expect(filesIn(folder)).toEqual({ s1: "somebody's" });
  rmSync(join(folder, "s1"));
  writeFileSync(join(folder, "more"), "another");
  const done = await host.run(to);
  expect(done.stderr).toContain('warning: "more" is no secret of the store yet: it is left as it is');
  expect(done.stderr).toContain(`and secrets-folder: ${folder}`);
  configure(host, `store: directory\nsecrets-folder: ${folder}\n`);
  await host.serve();
  expect(await host.ok(["secret", "list"])).toBe("NAME\n----\nmore\ns0\ns1\n");
  await host.end("SIGTERM");
  for (const [words, problem] of [
    [["sqlite", "sqlite"], "are of one kind"],
    [["sqlite", "etcd"], '"etcd" is not a store: sqlite, directory or directory:/folder'],
    [["sqlite", "directory", "--remove-files"], "--remove-files is for the way from directory to sqlite"],
  ] as const) {
    const refused = await host.run(["store", "migrate", ...words, "--session"]);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining(problem) });
  }
});

test("killed at any moment, it is run again and loses nothing", { timeout: LONG }, async ({ expect }) => {
  const { host, folder } = await made();
  await host.serve();
  await store(host, values(12));
  await host.end("SIGTERM");
  /** Starts it, and kills it once the folder has changed so many times; then runs it to its end. */
  const interrupted = async (args: readonly string[]): Promise<void> => {
    const child = spawn("bin/hatchway", ["store", "migrate", ...args, "--session"], { env: host.env, stdio: "ignore" });
    const delay = 100 + Math.random() * 300;
    await Promise.race([sleep(delay), once(child, "exit")]);
    const end = child.exitCode === null ? once(child, "exit") : undefined;
    child.kill("SIGKILL");
    await end;
    await host.ok(["store", "migrate", ...args, "--session"]);
  };
  for (let round = 0; round < ROUNDS; round++) {
    await interrupted(["sqlite", "directory"]);
    expect(filesIn(folder)).toEqual(values(12));
    await interrupted(["directory", "sqlite", "--remove-files"]);
    expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
  }
  await host.serve();
  const all = JSON.parse(await host.ok(["secret", "list", "--json"])) as SecretBody[];
  expect(all.map(({ name, version }) => `${name} ${version}`).toSorted()).toEqual(
    Object.keys(values(12))
      .map((name) => `${name} 1`)
      .toSorted(),
  );
});

test("what is put into the folder while the keys are sealed comes in when they are opened, by the next daemon too", async ({
  expect,
}) => {
  const { host, folder } = await made();
  configure(host, "store: directory\n");
  await host.serve();
  await host.ok(["key", "seal"]);
  writeFileSync(join(folder, "one"), "1", { mode: 0o600 });
  expect((await host.run(["secret", "list"])).code).toBe(6);
  await host.ok(["key", "unseal"]);
  await until("the first is there", async () => (await host.run(["secret", "check", "one"])).code === 0);
  await host.end("SIGTERM");
  await host.serve(["--sealed"]);
  writeFileSync(join(folder, "two"), "2", { mode: 0o600 });
  await host.ok(["key", "unseal"]);
  await until("the second too", async () => (await host.run(["secret", "check", "one", "two"])).code === 0);
  expect((await host.status()).store.problems).toEqual([]);
});

describe("a daemon that is killed at any moment", () => {
  test("has each change whole or not at all, in file and store alike", { timeout: LONG }, async ({ expect }) => {
    const { host, folder } = await made();
    configure(host, "store: directory\n");
    await host.serve();
    const acknowledged = new Map<string, number>();
    let number = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const load = Array.from({ length: 3 }, async (_, at) => {
        for (;;) {
          const name = `api${at}`;
          const mine = ++number;
          const { code } = await host.run(["secret", "set", name, "--label", `n=${mine}`], { stdin: `${mine}` });
          if (code !== 0) return;
          acknowledged.set(name, mine);
        }
      });
      await sleep(500 + Math.random() * 1500);
      writeFileSync(join(folder, "hand"), `${round}`, { mode: 0o600 });
      await host.end("SIGKILL");
      await Promise.all(load);
      await host.serve();
      const inFiles = filesIn(folder);
      const all = JSON.parse(await host.ok(["secret", "list", "--json"])) as SecretBody[];
      for (const { name, labels, size } of all) {
        if (name === "hand") continue;
        expect(inFiles[name]).toBe(labels?.["n"]);
        expect(inFiles[name]).toHaveLength(size);
        expect(Number(inFiles[name])).toBeGreaterThanOrEqual(acknowledged.get(name) ?? 0);
      }
      expect(inFiles["hand"]).toBe(`${round}`);
      expect(all.map(({ name }) => name)).toContain("hand");
      expect(readdirSync(folder).filter((name) => /^\.hatchway-(new|gone)/.test(name))).toEqual([]);
      expect((await host.status()).store.problems).toEqual([]);
    }
  });
});
