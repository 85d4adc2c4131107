// hatchway share, as a user types it: what it makes, what it refuses, how it follows changes, and who may.
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, it } from "vitest";
import { Session } from "#test/kit/session";

const command = resolve(import.meta.dirname, "../../bin/hatchway");
let session: Session;
let memory: string;
beforeAll(async () => {
  session = await Session.start();
  await session.ok(["secret", "create", "db", "--uid", "1000", "--mode", "0440"], { stdin: "canary-one" });
  await session.ok(["secret", "create", "token", "--env", "TOKEN"], { stdin: "canary-two" });
});
afterAll(() => session[Symbol.asyncDispose]());
beforeEach(async () => {
  memory = mkdtempSync("/dev/shm/hatchway-share.");
  await session.ok(["vm", "create", "web", "--external", "--secret", "db", "--secret", "token"]);
});
afterEach(async () => {
  rmSync(memory, { recursive: true });
  await session.run(["vm", "remove", "web"]);
});

const share = (...flags: string[]): ReturnType<Session["run"]> => session.run(["share", "web", ...flags]);

/** What the age program finds in a sealed share. */
function unsealed(folder: string, key: string, name: string): string {
  const age = `age -d -i ${key} ${folder}/bundle.age | tar -xO ${name}`;
  return execFileSync("sh", ["-c", age], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
}

/** Looks again until it is so; vitest ends what never is. */
async function until(what: () => boolean): Promise<void> {
  while (!what()) await sleep(20);
}

describe("a share that is made once", () => {
  it("is sealed to a key in memory, which serves again, and opens with the stock age", async ({ expect }) => {
    const [out, key] = [join(memory, "web"), join(memory, "key")];
    const first = await share("--out", out, "--key", key);
    expect(first).toMatchObject({ code: 0, stdout: `"${out}" has the secrets of vm "web", sealed\n` });
    expect(unsealed(out, key, "db")).toBe("canary-one");
    const made = readFileSync(key, "latin1");
    await session.ok(["secret", "update", "db"], { stdin: "canary-new" });
    expect((await share("--out", out, "--key", key)).code).toBe(0);
    expect([readFileSync(key, "latin1"), unsealed(out, key, "db")]).toEqual([made, "canary-new"]);
    expect((statSync(key).mode & 0o777).toString(8)).toBe("600");
    expect(await session.ok(["audit", "tail", "--lines", "2"])).toMatch(
      /bundle\.export {2}db v\d.*\n.*bundle\.export {2}token v1/,
    );
    await session.ok(["secret", "update", "db"], { stdin: "canary-one" });
  });

  it("is plain in memory, with modes and owners, and says it in JSON", async ({ expect }) => {
    const out = join(memory, "web");
    const { share: files, ...rest } = JSON.parse(
      await session.ok(["share", "web", "--out", out, "--plain", "--for", "virtiofs", "--json"]),
    ) as { share: string; revision: string };
    expect([files, rest]).toEqual([join(out, "files"), { vm: "web", form: "plain", revision: expect.any(String) }]);
    const { mode, uid } = statSync(join(files, "current/db"));
    expect([(mode & 0o777).toString(8), uid, readFileSync(join(files, "current/db"), "latin1")]).toEqual([
      "440",
      1000,
      "canary-one",
    ]);
    expect(readFileSync(join(files, "current/.hatchway/values/TOKEN"), "latin1")).toBe("canary-two");
  });

  it.for([
    [["--plain", "--for", "smb"], "every user and process of the guest can read QEMU's SMB server"],
    [["--plain", "--for", "nfs"], "NFS trusts addresses"],
    [["--plain"], "--plain needs --for"],
    [["--plain", "--for", "ftp"], '--for "ftp" is none of 9p, virtiofs, smb, nfs, sshfs'],
    [["--plain", "--for", "9p", "--key", "/dev/shm/k"], "--plain seals nothing"],
    [["--allow-exposed", "--recipient", "age1x"], "--allow-exposed is of --plain"],
    [[], "needs somebody to be sealed to"],
    [["--key", "/tmp/hatchway-share-key"], "would be on a disk"],
    [["--recipient", "age1x"], "malformed recipient"],
  ] as const)("%j is refused", async ([flags, text], { expect }) => {
    const { code, stderr, stdout } = await share("--out", join(memory, "web"), ...flags);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toContain(text);
    expect(stderr).not.toContain("canary");
  });

  it("is exposed where that is meant, and never in plain text on a disk", async ({ expect }) => {
    expect((await share("--out", join(memory, "web"), "--plain", "--for", "nfs", "--allow-exposed")).code).toBe(0);
    const disk = join(session.folder, "web");
    const refused = await share("--out", disk, "--plain", "--for", "virtiofs");
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("is on a disk")]);
    expect(existsSync(disk)).toBe(false);
  });

  it("of a VM that is not there makes nothing", async ({ expect }) => {
    const { code } = await session.run(["share", "nobody", "--out", join(memory, "x"), "--key", join(memory, "key")]);
    expect([code, readdirSync(memory)]).toEqual([3, []]);
  });

  it("works with an embedded store and no daemon", async ({ expect }) => {
    const root = mkdtempSync("/tmp/hw.");
    const embedded = ["-c", `embed://${root}`];
    await session.ok(["secret", "create", "own", ...embedded], { stdin: "canary-embedded" });
    await session.ok(["vm", "create", "box", "--external", "--secret", "own", ...embedded]);
    await session.ok(["share", "box", "--out", join(memory, "box"), "--plain", "--for", "9p", ...embedded]);
    const files = join(memory, "box/files");
    const set = join(files, readFileSync(join(files, "current"), "latin1"));
    expect(readFileSync(join(set, "own"), "latin1")).toBe("canary-embedded");
    rmSync(root, { recursive: true });
  });
});

describe("a share that is watched", () => {
  let child: ChildProcess | undefined;
  afterEach(async () => {
    if (child?.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });

  /** Runs on, until it is ended. */
  function watch(...flags: string[]): { exit: Promise<unknown>; said: () => string } {
    const running = spawn(command, ["share", "web", "--watch", ...flags], {
      env: session.env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    child = running;
    let said = "";
    for (const stream of [running.stdout, running.stderr])
      stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
    return { exit: once(running, "exit"), said: () => said };
  }

  it("follows each change, outlives the daemon, and goes with the VM", async ({ expect }) => {
    const out = join(memory, "web");
    const value = join(out, "files/current/db");
    const { exit, said } = watch("--out", out, "--plain", "--for", "virtiofs");
    await until(() => existsSync(value));
    await session.ok(["secret", "update", "db"], { stdin: "canary-next" });
    await until(() => readFileSync(value, "latin1") === "canary-next");
    await session.ok(["vm", "detach", "web", "token"]);
    await until(() => !existsSync(join(out, "files/current/.hatchway/values")));

    await session.end("SIGTERM");
    await until(() => said().includes("the folder stays as it is"));
    expect(readFileSync(value, "latin1")).toBe("canary-next");
    await session.serve();
    await session.ok(["secret", "update", "db"], { stdin: "canary-one" });
    await until(() => readFileSync(value, "latin1") === "canary-one");

    await session.ok(["vm", "remove", "web"]);
    expect(await exit).toEqual([3, null]);
    expect(said()).toContain('there is no vm "web"');
    expect(readdirSync(join(out, "files"))).toEqual(["sets"]);
    expect(readdirSync(join(out, "files/sets"))).toEqual([]);
  });

  it("is sealed anew at each change", async ({ expect }) => {
    const [out, key] = [join(memory, "web"), join(memory, "key")];
    watch("--out", out, "--key", key);
    await until(() => existsSync(join(out, "bundle.age")));
    await session.ok(["secret", "update", "db"], { stdin: "canary-sealed" });
    await until(() => unsealed(out, key, "db") === "canary-sealed");
    expect(readdirSync(out)).toEqual(["bundle.age"]);
    await session.ok(["secret", "update", "db"], { stdin: "canary-one" });
  });
});
