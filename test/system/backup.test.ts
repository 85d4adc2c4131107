// hatchway backup and restore, as their user has them.
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Decrypter, Encrypter, generateIdentity, identityToRecipient } from "age-encryption";
import { describe, it } from "vitest";
import type { BackupItem } from "#backup";
import { encodeBackup } from "#backup/tar";
import type { Caller } from "#caller";
import type { Client } from "#client/client";
import { connect } from "#client/connect";
import { readBackupContents } from "#daemon/offline";
import { inChunks, itemsOf, joined } from "#test/kit/backup";
import { call } from "#test/kit/http";
import { countInMemory } from "#test/kit/memory";
import { Session } from "#test/kit/session";
import { openSqliteStore } from "#store/sqlite";
import { refusal } from "#test/kit/vault";
import { openVault } from "#vault/open";

/** Rounds of killing in the middle of restoring: HATCHWAY_RESTORE_KILLS. */
const KILLS = Number(process.env["HATCHWAY_RESTORE_KILLS"] ?? 4);

interface Identity {
  file: string;
  recipient: string;
  identity: string;
}

async function makeIdentity(folder: string, name = "identity.txt"): Promise<Identity> {
  const identity = await generateIdentity();
  const file = join(folder, name);
  writeFileSync(file, `${identity}\n`, { mode: 0o600 });
  return { file, identity, recipient: await identityToRecipient(identity) };
}

function clientOf(session: Session): Client {
  return connect(`unix://${session.runtime}/hatchway.sock`, session.env);
}

/** Whatever a store may have: odd values, versions, words, names and grants. */
async function fill(session: Session): Promise<void> {
  const client = clientOf(session);
  const put = (name: string, value: Buffer, metadata = {}): Promise<unknown> =>
    client.putSecret(name, "set", value, metadata);
  await put("binary", Buffer.from([0, 1, 255, 10, 13]), {
    permissions: "0440",
    owner: "app",
    group: "app",
    path: "x/y",
  });
  await put("empty", Buffer.alloc(0));
  await put("large", randomBytes(1_048_576));
  await put("TOKEN", Buffer.from("a token"), { env: "TOKEN", default: true, labels: { team: "db" } });
  for (let version = 1; version <= 14; version++) {
    await put("many", Buffer.from(`many ${version}`), { description: `the ${version}th – größe` });
    if (version === 2) {
      await session.ok(["vm", "create", "keeps"]);
      await session.ok(["vm", "attach", "keeps", "many", "--pin"]);
    }
  }
  await put("old-name", Buffer.from("renamed"), { on_change: { reload: "app.service" } });
  await session.ok(["vm", "create", "web", "--secret", "old-name", "--secret", "binary", "--memory", "512"]);
  await session.ok(["vm", "attach", "web", "large", "--as", "team/large", "--mode", "0400"]);
  await session.ok(["secret", "rename", "old-name", "new-name"]);
}

/** All that a user can see of a store, but for what is new in another one. */
async function seen(session: Session): Promise<unknown> {
  const client = clientOf(session);
  const secrets = await client.secrets();
  const histories = await Promise.all(secrets.map(({ name }) => client.history(name)));
  const vms = await client.vms();
  const grants = await Promise.all(vms.map(({ name }) => client.grants(name)));
  const bundles = await Promise.all(
    vms.map(async ({ control_socket: control }) =>
      (await call(control, "GET", "/bundle")).text.replaceAll(/"revision":"[^"]*"/g, ""),
    ),
  );
  const words = vms.map(({ name, runner, launch, created_at: at }) => ({ name, runner, launch, at }));
  return { secrets, histories, words, grants, bundles: bundles.map((text) => text.slice(1_024)) };
}

/** Fills the store of a session before its daemon serves, by this process. */
async function fillHere(
  session: Session,
  puts: (put: (name: string, value: Buffer) => () => Promise<unknown>) => (() => Promise<unknown>)[],
): Promise<void> {
  const self: Caller = { kind: "embedded", uid: 0, purpose: "test" };
  const vault = await openVault(
    await openSqliteStore(join(session.state, "store.db"), { create: true, queueDeadlineMs: 30_000 }),
    {
      keyFile: join(session.folder, "c/hatchway/root.key"),
      keyring: join(session.state, "keyring.json"),
      audit: join(session.state, "audit.jsonl"),
    },
    { mode: "session", uid: 0 },
  );
  const all = puts((name, value) => () => vault.putSecret(self, name, "create", { value }));
  // No more at a time than a store lets wait for its disk: 64 MiB.
  for (let at = 0; at < all.length; at += 32) await Promise.all(all.slice(at, at + 32).map((put) => put()));
  await vault.close();
}

/** The state of a session, moved away so that there is none. */
async function withoutState(session: Session): Promise<void> {
  await session.end("SIGTERM");
  renameSync(session.state, `${session.state}.${Date.now()}`);
}

describe("hatchway backup", () => {
  it("brings everything back into an empty state: versions, times, words, grants, pins", async ({ expect }) => {
    await using session = await Session.start();
    const { file, recipient } = await makeIdentity(session.folder);
    await fill(session);
    const before = await seen(session);
    const { epoch } = (await session.status()).store;
    const path = join(session.folder, "all.age");
    expect(await session.ok(["backup", path, "--recipient", recipient])).toContain(`sealed to ${recipient}`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect((await session.run(["backup", path, "--recipient", recipient])).code).toBe(4);
    const listed = execFileSync("sh", ["-c", `age -d -i ${file} ${path} | tar tf -`], { encoding: "utf8" });
    expect(listed.split("\n")[0]).toBe("backup.json");
    expect(listed).toContain("values/many/2\n");

    const restore = ["restore", path, "--identity", file, "--session"];
    const busy = await session.run(restore);
    expect(busy).toMatchObject({ code: 6, stderr: expect.stringContaining("is open in another process") });
    await session.end("SIGTERM");
    const full = await session.run(restore);
    expect(full).toMatchObject({ code: 4, stderr: expect.stringContaining("is not empty") });
    renameSync(session.state, `${session.state}.old`);
    expect(await session.ok(restore)).toContain("with 6 secrets");
    await session.serve();
    expect(await seen(session)).toEqual(before);
    expect((await session.status()).store.epoch).not.toBe(epoch);
    const { generation, applied } = (await session.vm("web")).convergence;
    expect([generation, applied]).toEqual([1, undefined]);
    expect(await session.ok(["audit", "verify"])).toContain("the audit trail holds");
    expect(await session.ok(["audit", "export", "--op", "backup.*"])).toContain('"outcome":"ok"');
    // It is a store like any other from then on.
    await session.ok(["secret", "rollback", "many", "--to", "2"]);
  });

  it("goes through a pipe, by a passphrase, over the network, and single secrets come back while it runs", async ({
    expect,
  }) => {
    await using session = new Session();
    const { folder, env } = session;
    mkdirSync(join(folder, "c/hatchway"), { recursive: true, mode: 0o700 });
    writeFileSync(join(folder, "token"), `${randomBytes(32).toString("hex")}\n`, { mode: 0o600 });
    writeFileSync(
      join(folder, "c/hatchway/config.yaml"),
      `listen: ["127.0.0.1:0"]\ntokens: {ci: ${join(folder, "token")}}\n`,
      { mode: 0o600 },
    );
    await session.serve();
    const [, address = ""] = /serves on (127\.0\.0\.1:\d+)/.exec(await session.ok(["logs"])) ?? [];
    env["HATCHWAY_TOKEN_FILE"] = join(folder, "token");
    const remote = ["-c", `http://${address}`];
    await fill(session);
    writeFileSync(join(folder, "phrase"), "correct horse battery\n", { mode: 0o600 });
    const file = join(folder, "some.age");
    const phrase = ["--passphrase-file", join(folder, "phrase")];
    const dry = JSON.parse(await session.ok([...remote, "backup", "--dry-run", "--json"])) as { vms: string[] };
    expect(dry.vms).toEqual(["keeps", "web"]);
    await session.ok([...remote, "backup", file, ...phrase, "--only", "large", "many"]);
    const decrypter = new Decrypter();
    decrypter.addPassphrase("correct horse battery");
    const items = await itemsOf(inChunks(Buffer.from(await decrypter.decrypt(readFileSync(file))), 100_000));
    expect(items.filter(({ kind }) => kind === "value")).toHaveLength(1 + 11);

    const restore = [...remote, "restore", file, ...phrase, "--only"];
    const taken = await session.run([...restore, "many", "large"]);
    expect(taken).toMatchObject({ code: 4, stderr: expect.stringContaining("these secrets exist: large, many") });
    await session.ok(["secret", "remove", "many"]);
    expect((await session.run([...restore, "many", "large"])).code).toBe(4);
    expect((await session.run([...restore, "many", "none"])).stderr).toContain('the backup has no secret "none"');
    expect(await session.ok([...restore, "many"])).toBe("restored 1 secret: many\n");
    expect((await session.secret("many")).version).toBe(14);

    writeFileSync(join(folder, "wrong"), "correct horse", { mode: 0o600 });
    const wrong = ["restore", file, "--passphrase-file", join(folder, "wrong"), "--dry-run"];
    expect(await session.run(wrong)).toMatchObject({
      code: 8,
      stderr: "error: the passphrase does not open the backup\n",
    });
  });

  it("leaves no copy of a value in the daemon's memory, and takes the same room for 64 MiB as for one", async ({
    expect,
  }) => {
    await using session = new Session();
    const { recipient } = await makeIdentity(session.folder);
    const canary = randomBytes(16).toString("hex");
    await fillHere(session, (put) => [
      ...Array.from({ length: 5_000 }, (_, at) => put(`s${at}`, Buffer.from(`${canary}${at}`))),
      ...Array.from({ length: 64 }, (_, at) => put(`l${at}`, Buffer.alloc(1_048_576, `${at} `))),
    ]);
    await session.serve();
    const backUp = async (file: string): Promise<void> => {
      await session.ok(["backup", join(session.folder, file), "--recipient", recipient]);
    };
    await backUp("first.age");
    const before = highWater(session.pid);
    await backUp("second.age");
    expect(highWater(session.pid) - before).toBeLessThan(48 * 1_048_576);
    expect(await countInMemory(session.pid, [canary])).toEqual([0]);
    expect(statSync(join(session.folder, "second.age")).size).toBeGreaterThan(64 * 1_048_576);
  }, 120_000);

  it("that is interrupted leaves nothing", async ({ expect }) => {
    await using session = await Session.start();
    const client = clientOf(session);
    const { recipient } = await makeIdentity(session.folder);
    for (let at = 0; at < 40; at++) await client.putSecret(`l${at}`, "create", randomBytes(1_048_576));
    const out = join(session.folder, "out");
    mkdirSync(out);
    for (const signal of ["SIGINT", "SIGTERM", "SIGKILL"] as const) {
      const child = spawn(command, ["backup", join(out, "all.age"), "--recipient", recipient], {
        env: session.env,
        stdio: "ignore",
      });
      const ended = once(child, "exit");
      while (child.exitCode === null && readdirSync(out).length === 0) await sleep(1);
      if (child.exitCode === null) child.kill(signal);
      await ended;
      const left = readdirSync(out);
      // Too late: it was whole already. SIGKILL leaves what is sealed and has another name.
      if (signal !== "SIGKILL") expect(left.filter((name) => name !== "all.age")).toEqual([]);
      expect(left.every((name) => name === "all.age" || name.endsWith(".partial"))).toBe(true);
      for (const name of left) rmSync(join(out, name));
    }
    await session.ok(["secret", "show", "l0"]);
  });
});

describe("hatchway restore", () => {
  it("that is killed at any moment leaves an empty store or a whole one", async ({ expect }) => {
    await using session = await Session.start();
    const client = clientOf(session);
    const { file, recipient } = await makeIdentity(session.folder);
    for (let at = 0; at < 300; at++) await client.putSecret(`s${at}`, "create", Buffer.alloc(5_000, `${at} `));
    const path = join(session.folder, "all.age");
    await session.ok(["backup", path, "--recipient", recipient]);
    const restore = ["restore", path, "--identity", file, "--session"];
    await withoutState(session);
    const begun = Date.now();
    await session.ok(restore);
    const length = Date.now() - begun;
    await session.serve();
    const outcomes = new Set<number>();
    await withoutState(session);
    for (let round = 0; round < KILLS; round++) {
      const child = spawn(command, restore, { env: session.env, stdio: "ignore" });
      const ended = once(child, "exit");
      await sleep((length * (0.2 + round)) / KILLS);
      child.kill("SIGKILL");
      await ended;
      await session.serve();
      const { secrets = -1 } = await session.status();
      expect([0, 300]).toContain(secrets);
      outcomes.add(secrets);
      expect(await session.ok(["audit", "verify"])).toContain("the audit trail");
      if (secrets === 300) await withoutState(session);
      else await session.end("SIGTERM");
    }
    expect(outcomes).toContain(0);
    await session.ok(restore);
    await session.serve();
    expect((await session.status()).secrets).toBe(300);
    expect(existsSync(join(session.state, "restore.partial"))).toBe(false);
  }, 120_000);

  it("says in a line what is wrong with a backup, and touches nothing", async ({ expect }) => {
    await using session = await Session.start();
    const { folder } = session;
    const { file, recipient, identity } = await makeIdentity(folder);
    const other = await makeIdentity(folder, "other.txt");
    await session.ok(["secret", "set", "db"], { stdin: "value" });
    const path = join(folder, "good.age");
    await session.ok(["backup", path, "--recipient", recipient]);
    await withoutState(session);
    const good = readFileSync(path);
    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const items = await itemsOf(inChunks(Buffer.from(await decrypter.decrypt(good)), 512));
    const newer = items.map((item) =>
      item.kind === "head" ? { ...item, head: { ...item.head, format: 2 as 1 } } : item,
    );
    const cases: [name: string, bytes: Uint8Array, identity: string, code: number, words: string][] = [
      ["cut", good.subarray(0, good.length - 1), file, 8, "the backup is damaged"],
      ["long", Buffer.concat([good, Buffer.from("x")]), file, 8, "the backup is damaged"],
      ["empty", Buffer.alloc(0), file, 8, "it is no age file"],
      ["newer", await encrypter.encrypt(await tarOf(newer)), file, 9, "the backup has format 2"],
      ["tar", await encrypter.encrypt(Buffer.alloc(10_240)), file, 8, "not a ustar header"],
      ["other", good, other.file, 8, "does not open the backup"],
      ["nobody", good, join(folder, "none.txt"), 2, "there is no age identity"],
    ];
    for (const [name, bytes, opener, code, words] of cases) {
      const bad = join(folder, `${name}.age`);
      writeFileSync(bad, bytes);
      const ran = await session.run(["restore", bad, "--identity", opener, "--session"]);
      expect(ran, name).toMatchObject({ code, stdout: "", stderr: expect.stringContaining(words) });
      expect(ran.stderr, name).toMatch(/^error: [^\n]+\n(hint: [^\n]+\n)?$/);
      expect(existsSync(session.state), name).toBe(false);
    }
    expect((await session.run(["restore", path])).stderr).toContain("either by --identity or by --passphrase");
    expect((await session.run(["restore", join(folder, "absent.age"), "--identity", file])).code).toBe(2);
    const dry = await session.ok(["restore", path, "--identity", file, "--dry-run"]);
    expect(dry).toContain("the backup is whole: it has 1 secret (1 version, 5 bytes) and 0 VMs");
    expect(existsSync(session.state)).toBe(false);
  });

  it("refuses a backup with a bit changed in any KiB of it", async ({ expect }) => {
    await using session = await Session.start();
    const { file, recipient } = await makeIdentity(session.folder);
    await session.ok(["secret", "set", "a"], { stdin: randomBytes(90_000).toString("hex") });
    const path = join(session.folder, "good.age");
    await session.ok(["backup", path, "--recipient", recipient]);
    const good = readFileSync(path);
    const bad = join(session.folder, "bad.age");
    for (let at = 0; at < good.length; at += 1_024) {
      const edited = Buffer.from(good);
      edited[at] = (edited[at] ?? 0) ^ 0x10;
      writeFileSync(bad, edited);
      expect(await refusal(readBackupContents(bad, { identity: file })), `at ${at}`).toMatch(
        /corrupt|wrong-key|unsupported/,
      );
    }
    expect((await readBackupContents(path, { identity: file })).bytes).toBe(180_000);
  });
});

const command = resolve(import.meta.dirname, "../../bin/hatchway");

async function tarOf(items: readonly BackupItem[]): Promise<Buffer> {
  async function* all(): AsyncGenerator<BackupItem> {
    yield* items;
  }
  return joined(encodeBackup(all()));
}

/** The most memory that a process has had, in bytes (proc_pid_status(5)). */
function highWater(pid: number): number {
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) * 1_024;
}
