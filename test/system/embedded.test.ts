// A store without a daemon: in the process of whoever uses it, the command line or a program.
import { execFile, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeAll, beforeEach, describe, test } from "vitest";
import { connect } from "#client/connect";
import { ended } from "#test/kit/guest-namespace";

const run = promisify(execFile);
const bin = resolve(import.meta.dirname, "../../bin/hatchway");
const checkout = resolve(import.meta.dirname, "../..");
const CANARY = "canary-9d1f3c7a52";

let folder: string;
let root: string;
let uri: string;

beforeAll(async () => {
  await run(process.execPath, [join(checkout, "scripts/bundle.ts")], { cwd: checkout });
});
beforeEach(() => {
  folder = mkdtempSync("/tmp/hw.");
  root = join(folder, "app");
  uri = `embed://${root}`;
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A command as a user types it, on a machine where no daemon runs. */
function hatchway(args: readonly string[], input = ""): ReturnType<typeof ended> {
  const env = {
    PATH: process.env["PATH"],
    HOME: folder,
    XDG_RUNTIME_DIR: join(folder, "r"),
    HATCHWAY_NO_AF_VSOCK: "1",
  };
  const child = spawn(bin, args, { env, stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.end(input);
  return ended(child);
}

describe("the command line", () => {
  test("does with a store of its own what it does with a daemon's, one command after the other", async ({ expect }) => {
    const steps: readonly (readonly [args: readonly string[], input: string, said: string])[] = [
      [["secret", "set", "db"], CANARY, 'created secret "db" (17 bytes, version 1)'],
      [["secret", "set", "db"], `${CANARY}2`, 'updated secret "db" (18 bytes, version 2)'],
      [["secret", "list"], "", "db"],
      [["secret", "history", "db"], "", "CURRENT"],
      [["vm", "create", "web-1", "--no-secrets"], "", 'created vm "web-1"'],
      [["vm", "attach", "web-1", "db", "--env", "DB"], "", 'attached to vm "web-1"'],
      [["key", "rotate"], "", "term 2"],
      [["key", "rewrap"], "", "rewrapped"],
      [["key", "retire", "1"], "", "retired term 1"],
      [["audit", "tail"], "", "grant.attach"],
      [["audit", "verify"], "", "the audit trail holds"],
      [["status"], "", "embedded"],
      [["whoami"], "", "admin"],
      [["secret", "remove", "db"], "", 'removed secret "db"'],
    ];
    for (const [args, input, said] of steps) {
      const { code, stdout, stderr } = await hatchway(["-c", uri, ...args], input);
      expect(code, `${args.join(" ")}: ${stderr}`).toBe(0);
      expect(stdout).toContain(said);
    }
    const other = await hatchway(["-c", `secret:///embed?root=${root}`, "vm", "list", "--json"]);
    expect(JSON.parse(other.stdout)).toMatchObject([{ name: "web-1", secrets: [] }]);
  });

  test("leaves its files where libvirt's embedded driver has them, for nobody else, and no value in them", async ({
    expect,
  }) => {
    await hatchway(["-c", uri, "secret", "set", "db"], CANARY);
    expect(readdirSync(root).toSorted()).toEqual(["etc", "run"]);
    expect(readdirSync(join(root, "etc"))).toEqual(["secrets"]);
    expect(readdirSync(join(root, "run"))).toEqual(["secrets"]);
    for (const name of readdirSync(root, { recursive: true }) as string[]) {
      const stat = statSync(join(root, name));
      expect([name, (stat.mode & 0o077).toString(8)]).toEqual([name, "0"]);
      if (stat.isFile()) expect(readFileSync(join(root, name)).includes(CANARY), name).toBe(false);
    }
    expect(readdirSync(join(root, "run/secrets")).toSorted()).toEqual(["driver.pid", "vm"]);
  });

  test("needs a root that nobody else can write to", async ({ expect }) => {
    mkdirSync(root);
    chmodSync(root, 0o777);
    const { code, stderr } = await hatchway(["-c", uri, "secret", "list"]);
    expect([code, stderr]).toEqual([
      5,
      `error: "${root}" can be written to by others: its mode is 0777\nhint: chmod go-w ${root}\n`,
    ]);
    expect(readdirSync(root)).toEqual([]);
    chmodSync(root, 0o755);
    expect(await hatchway(["-c", uri, "secret", "list"])).toMatchObject({ code: 0 });
    expect(statSync(root).mode & 0o777).toBe(0o755);
  });
});

describe("a program", () => {
  test("has the store for itself until it closes it, and keeps its own umask", async ({ expect }) => {
    const before = process.umask();
    const store = connect(uri, {});
    await store.putSecret("db", "create", Buffer.from(CANARY));
    const { code, stderr } = await hatchway(["-c", uri, "secret", "list"]);
    expect([code, stderr]).toEqual([6, `error: the root "${root}" is in use by pid ${process.pid}\n`]);
    await expect(connect(uri, {}).secrets()).rejects.toThrow(`the root "${root}" is in use by this process`);
    expect(await store.secrets()).toMatchObject([{ name: "db" }]);
    await store.close();
    expect(process.umask()).toBe(before);
    expect(existsSync(join(root, "run/secrets/hatchway.sock"))).toBe(false);
    const after = await hatchway(["-c", uri, "secret", "list"]);
    expect([after.code, after.stdout]).toEqual([0, "NAME\n----\ndb\n"]);
    expect(await store.secrets()).toMatchObject([{ name: "db" }]);
    await store[Symbol.asyncDispose]();
  });

  test("that is killed leaves nothing in the way of the next", async ({ expect }) => {
    const program = join(folder, "program.mjs");
    const client = join(checkout, "dist/client.mjs");
    writeFileSync(
      program,
      `import { connect } from ${JSON.stringify(client)};
      const store = connect(${JSON.stringify(uri)});
      await store.putSecret("db", "create", Buffer.from("v"));
      process.kill(process.pid, "SIGKILL");`,
    );
    await expect(run(process.execPath, [program])).rejects.toMatchObject({ signal: "SIGKILL" });
    expect(await hatchway(["-c", uri, "secret", "list"])).toMatchObject({ code: 0, stdout: "NAME\n----\ndb\n" });
  });

  test("imports it from the package, and ends when it has closed it; an older Node is told why not", async ({
    expect,
  }) => {
    const program = join(folder, "program.mjs");
    const client = join(checkout, "dist/client.mjs");
    writeFileSync(
      program,
      `import { connect, HatchwayError } from ${JSON.stringify(client)};
      const store = connect(${JSON.stringify(uri)});
      try {
        await store.putSecret("db", "set", Buffer.from("v"));
        console.log((await store.status()).mode);
        await store.close();
      } catch (error) {
        console.log(error instanceof HatchwayError, error.message);
      }`,
    );
    expect((await run(process.execPath, [program])).stdout).toBe("embedded\n");
    const folders = process.env["PATH"]?.split(delimiter) ?? [];
    const PATH = folders.filter((one) => !one.includes("node_modules")).join(delimiter);
    const { stdout: version } = await run("node", ["--version"], { env: { PATH } });
    const { stdout } = await run("node", [program], { env: { PATH } });
    const isOld = Number(/^v(\d+)/.exec(version)?.[1]) < 24;
    expect(stdout).toBe(isOld ? `true an embedded store needs Node 24, and this is ${version.trim()}\n` : "embedded\n");
  });
});
