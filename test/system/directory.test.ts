// The folder of plain files, with a real daemon over it and a guest that takes each change.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { link, mkdtemp, open, rename, rm, truncate } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, onTestFinished, test } from "vitest";
import type { SecretBody, StatusBody } from "#api";
import { DirectoryStore } from "#directory/store";
import { RUNNER_A, STRANGER, TestDaemon } from "#test/kit/daemon";
import { GuestWatch } from "#test/kit/guest-watch";
import { until } from "#test/kit/until";
import { admin, TestVault } from "#test/kit/vault";

class Desk {
  readonly daemon: TestDaemon;
  readonly folder: string;

  private constructor(daemon: TestDaemon) {
    this.daemon = daemon;
    this.folder = join(daemon.places.state, ".secrets");
  }

  static async open(): Promise<Desk> {
    const daemon = await TestDaemon.open("system", "store: directory\n");
    onTestFinished(() => daemon[Symbol.asyncDispose]());
    return new Desk(daemon);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Runs a shell's command in the folder. */
  sh(command: string): void {
    execFileSync("bash", ["-c", `umask 077; ${command}`], { cwd: this.folder, stdio: ["ignore", "pipe", "pipe"] });
  }

  async secret(name: string): Promise<SecretBody | undefined> {
    const { status, body } = await this.daemon.ask("GET", `/secrets/${name}`);
    return status === 200 ? (JSON.parse(body.toString()) as SecretBody) : undefined;
  }

  async version(name: string): Promise<number> {
    return (await this.secret(name))?.version ?? 0;
  }

  async names(): Promise<string[]> {
    return ((await this.daemon.tell("GET", "/secrets")) as SecretBody[]).map(({ name }) => name);
  }

  async problems(): Promise<Record<string, string>> {
    const { store } = (await this.daemon.tell("GET", "/status")) as StatusBody;
    return Object.fromEntries((store.problems ?? []).map(({ name, problem }) => [name, problem]));
  }

  /** Resolves once all that was done in the folder before has arrived. */
  async fence(): Promise<void> {
    const value = `${Math.random()}`;
    const before = await this.version("fence");
    writeFileSync(this.path("fence"), value, { mode: 0o600 });
    await until("the fence is there", async () => (await this.version("fence")) > before);
  }

  async guest(...secrets: string[]): Promise<GuestWatch> {
    const vm = await this.daemon.vm("web-1", RUNNER_A, ...secrets);
    const socket = vm.channels.find(({ kind }) => kind === "vsock")?.path;
    const guest = await GuestWatch.open(`${socket}_5107`);
    onTestFinished(() => guest.close());
    return guest;
  }
}

test("a file that is dropped in is a secret, with the file's mode and owner, and leaves with it", async ({
  expect,
}) => {
  const desk = await Desk.open();
  expect(statSync(desk.folder).mode & 0o777).toBe(0o700);
  desk.sh("echo my-api-key | tee api-key >/dev/null; chmod 440 api-key; chown 1000:1001 api-key");
  await until("the secret is there", async () => (await desk.secret("api-key"))?.uid === 1000);
  expect(await desk.secret("api-key")).toMatchObject({
    size: 11,
    permissions: "0440",
    uid: 1000,
    gid: 1001,
    version: 1,
  });
  await rm(desk.path("api-key"));
  await until("the secret is gone", async () => (await desk.secret("api-key")) === undefined);
  const audit = readFileSync(join(desk.daemon.places.state, "audit.jsonl"), "utf8");
  expect(audit).toContain(`"caller":"file:${desk.path("api-key")}"`);
  expect(audit).not.toContain("my-api-key");
});

const editors: [string, string][] = [
  ["tee", "echo two | tee key >/dev/null"],
  ["a redirection", "echo two >key"],
  ["sed -i", "sed -i s/one/two/ key"],
  ["vim", `vim -u NONE -i NONE -n -es -c '%s/one/two/' -c 'set backupcopy=no' -c wq key`],
  [
    "vim, which keeps the file",
    `vim -u NONE -i NONE -es -c '%s/one/two/' -c 'set backupcopy=yes backup' -c wq key; rm -f key~`,
  ],
  ["mv over it", "echo two >../next; mv ../next key"],
  ["cp over it", "echo two >../next; cp ../next key; rm ../next"],
  ["install over it", "echo two >../next; install -m 600 ../next key; rm ../next"],
  ["an editor that moves the old one away", "mv key key~; sleep 0.3; echo two >key; rm key~"],
  ["a writer that is slow", "(printf t; sleep 0.4; printf w; sleep 0.4; echo o) >key"],
];

for (const [editor, command] of editors) {
  test(`one change is one version, and arrives once: ${editor}`, async ({ expect }) => {
    const desk = await Desk.open();
    desk.sh("echo one >key; echo >fence");
    await until("both are there", async () => (await desk.names()).length === 2);
    const guest = await desk.guest("key", "fence");
    desk.sh(command);
    await until("the change has arrived", async () => (await desk.version("key")) > 1);
    await desk.fence();
    await until("the guest has it", () => guest.seen.some(({ has }) => (has["fence"]?.version ?? 0) > 1));
    expect(await desk.version("key")).toBe(2);
    expect(guest.seen.flatMap(({ brings }) => brings["key"] ?? [])).toEqual(["one\n", "two\n"]);
    expect(await desk.names()).toEqual(["fence", "key"]);
  });
}

test("a change of mode or owner, or the same bytes again, is no version", async ({ expect }) => {
  const desk = await Desk.open();
  desk.sh("echo one >key; echo >fence");
  await until("both are there", async () => (await desk.names()).length === 2);
  const guest = await desk.guest("key", "fence");
  chmodSync(desk.path("key"), 0o400);
  await until("the mode has arrived", () => guest.seen.at(-1)?.has["key"]?.mode === "0400");
  chownSync(desk.path("key"), 33, 34);
  await until("the owner has arrived", () => guest.seen.at(-1)?.has["key"]?.user === 33);
  desk.sh("echo one >key; touch key; cp key ../same; mv ../same key; chown 33:34 key");
  await desk.fence();
  expect(await desk.secret("key")).toMatchObject({ version: 1, uid: 33, gid: 34, permissions: "0400" });
  expect(guest.seen.filter(({ brings }) => "key" in brings)).toHaveLength(1);
});

test("a file that somebody has open for writing is not delivered, however long that takes", async ({ expect }) => {
  const desk = await Desk.open();
  desk.sh("echo one >key; echo >fence");
  await until("both are there", async () => (await desk.names()).length === 2);
  const guest = await desk.guest("key", "fence");
  const writer = await open(desk.path("key"), "w");
  await writer.write("ha");
  const fresh = await open(desk.path("fresh"), "wx", 0o600);
  await fresh.write("ha");
  // Three fences are more than any time that a file must be quiet.
  for (let round = 0; round < 3; round++) await desk.fence();
  expect([await desk.version("key"), await desk.secret("fresh")]).toEqual([1, undefined]);
  await writer.write("lf");
  await Promise.all([writer.close(), fresh.write("lf").then(() => fresh.close())]);
  await until("the whole is there", () => guest.seen.some(({ brings }) => brings["key"] === "half"));
  await until("the new one too", async () => (await desk.secret("fresh"))?.size === 4);
  expect(guest.seen.flatMap(({ brings }) => brings["key"] ?? [])).toEqual(["one\n", "half"]);
});

test("what can be no secret is refused or ignored, told once, and shown by the status", async ({ expect }) => {
  const desk = await Desk.open();
  desk.sh("echo one >key");
  await until("it is there", async () => (await desk.version("key")) === 1);
  symlinkSync("/etc/shadow", desk.path("link"));
  desk.sh(
    "mkfifo fifo; mkdir folder; head -c 1048577 /dev/zero >big; touch .dot 'na me' backup~; cp /bin/true suid; chmod 4700 suid",
  );
  const socket = createServer().listen(desk.path("socket"));
  onTestFinished(() => void socket.close());
  await link(desk.path("key"), desk.path("second"));
  desk.sh("echo world >open; chmod 644 open");
  await until("all are told", async () => Object.keys(await desk.problems()).length === 11);
  expect(await desk.problems()).toEqual({
    ".dot": expect.stringMatching(/^is ignored: it is not a secret name/),
    "backup~": expect.stringMatching(/^is ignored/),
    "na me": expect.stringMatching(/^is ignored/),
    big: "is refused: it has 1048577 bytes, more than 1048576 (1 MiB)",
    fifo: "is refused: it is a fifo: it should be a regular file",
    folder: "is refused: it is a directory: it should be a regular file",
    link: "is refused: it is a symbolic link: it should be a regular file",
    socket: "is refused: it is a socket: it should be a regular file",
    suid: "is refused: it has mode 4700: the set-uid, set-gid and sticky bits should not be set",
    second: "is refused: it has 2 names (hard links): it should have one",
    open: "has mode 0644: every user of a guest that has it can read it",
  });
  expect(await desk.names()).toEqual(["key", "open"]);
  await rm(desk.path("second"));
  await rm(desk.path("link"));
  desk.sh("echo two >key; echo plain >link; chmod 600 open");
  await until(
    "they are secrets again",
    async () => (await desk.version("key")) === 2 && (await desk.version("link")) === 1,
  );
  await until("the rest is still told", async () => Object.keys(await desk.problems()).length === 8);
  expect(await desk.problems()).not.toHaveProperty("link");
  const log = await desk.daemon.log();
  expect(log.match(/warning: "fifo"/g)).toHaveLength(1);
});

test("a folder that others can look into is told", async ({ expect }) => {
  const desk = await Desk.open();
  await desk.daemon.stop();
  chmodSync(desk.folder, 0o755);
  await desk.daemon.start();
  expect(await desk.problems()).toEqual({ "": expect.stringContaining("has mode 0755") });
  expect(await desk.daemon.log()).toContain(
    `"${desk.folder}" has mode 0755, so others can get at secrets: it should be 0700`,
  );
});

test("a thousand files that come at once are a thousand secrets", async ({ expect }) => {
  const desk = await Desk.open();
  desk.sh("for i in $(seq 1000); do echo value-$i >s$i; done");
  await until("all are there", async () => (await desk.names()).length === 1000);
  const all = (await desk.daemon.tell("GET", "/secrets")) as SecretBody[];
  expect(new Set(all.map(({ version }) => version))).toEqual(new Set([1]));
});

describe("a change by the api", () => {
  test("is in the file when it is answered, with mode and owner, and is one version", async ({ expect }) => {
    const desk = await Desk.open();
    await desk.daemon.secret("db", "one", "?permissions=0440&uid=7&gid=8");
    expect(readFileSync(desk.path("db"), "utf8")).toBe("one");
    const { mode, uid, gid } = statSync(desk.path("db"));
    expect([mode & 0o7777, uid, gid]).toEqual([0o440, 7, 8]);
    await desk.daemon.tell("PATCH", "/secrets/db", { permissions: "0400", uid: 0, gid: 0 });
    expect([statSync(desk.path("db")).mode & 0o7777, statSync(desk.path("db")).uid]).toEqual([0o400, 0]);
    await desk.daemon.secret("db", "two");
    await desk.daemon.tell("POST", "/secrets/db/rollback", {});
    expect(readFileSync(desk.path("db"), "utf8")).toBe("one");
    await desk.daemon.tell("POST", "/secrets/db/rename", { to: "shop" });
    await desk.daemon.tell("PATCH", "/secrets/shop", { description: "of the shop" });
    await desk.fence();
    expect(readdirSync(desk.folder).toSorted()).toEqual([".hatchway-store", "fence", "shop"]);
    expect(await desk.secret("shop")).toMatchObject({ version: 3, description: "of the shop", permissions: "0400" });
    await desk.daemon.tell("DELETE", "/secrets/shop");
    await desk.fence();
    expect(readdirSync(desk.folder).toSorted()).toEqual([".hatchway-store", "fence"]);
    expect(await desk.names()).toEqual(["fence"]);
  });

  test("that the vault refuses leaves the file as it was", async ({ expect }) => {
    const desk = await Desk.open();
    await desk.daemon.secret("db", "one", "?env=DB");
    const { status } = await desk.daemon.ask("PUT", "/secrets/db/value", Buffer.from("nul\0"));
    expect(status).toBe(400);
    expect((await desk.daemon.ask("DELETE", "/secrets/other")).status).toBe(404);
    expect(readdirSync(desk.folder).toSorted()).toEqual([".hatchway-store", "db"]);
    expect(readFileSync(desk.path("db"), "utf8")).toBe("one");
    desk.sh("printf 'nul\\0' >db");
    await until("the file is refused too", async () => "db" in (await desk.problems()));
    expect((await desk.problems())["db"]).toContain('cannot be variable "DB"');
    expect(await desk.version("db")).toBe(1);
  });
});

describe("a daemon that starts", () => {
  test("takes what was changed while none ran", async ({ expect }) => {
    const desk = await Desk.open();
    for (const name of ["kept", "changed", "gone"]) await desk.daemon.secret(name, name);
    await desk.daemon.vm("web-1", RUNNER_A, "changed");
    await desk.daemon.stop();
    desk.sh("echo other >changed; rm gone; echo new >new; chmod 400 kept");
    await desk.daemon.start();
    await until("it is as the files say", async () => (await desk.names()).join() === "changed,kept,new");
    expect([await desk.version("kept"), await desk.version("changed")]).toEqual([1, 2]);
    expect(await desk.secret("kept")).toMatchObject({ permissions: "0400" });
    expect((await desk.daemon.show("web-1")).secrets).toEqual(["changed"]);
  });

  test("takes no secret away because the folder is not there", async ({ expect }) => {
    const desk = await Desk.open();
    await desk.daemon.secret("db", "one");
    await desk.daemon.stop();
    await rename(desk.folder, `${desk.folder}.away`);
    await expect(desk.daemon.start()).rejects.toThrow(/is empty, or belongs to another store/);
    mkdirSync(desk.folder, { mode: 0o700 });
    await expect(desk.daemon.start()).rejects.toThrow(/is empty, or belongs to another store/);
    await rm(desk.folder, { recursive: true });
    await rename(`${desk.folder}.away`, desk.folder);
    await desk.daemon.start();
    expect(await desk.names()).toEqual(["db"]);
  });

  test("serves no older values from the store beside it", async ({ expect }) => {
    const desk = await Desk.open();
    await desk.daemon.secret("db", "one");
    await desk.daemon.stop();
    await desk.daemon.configure("store: sqlite\n");
    await expect(desk.daemon.start()).rejects.toThrow(`the secrets of this store are in the folder "${desk.folder}"`);
    await desk.daemon.configure("store: directory\nsecrets-folder: /tmp/elsewhere\n");
    await expect(desk.daemon.start()).rejects.toThrow(/not in "\/tmp\/elsewhere"/);
  });

  test("puts no secrets of a sealed store into a folder by itself", async ({ expect }) => {
    const daemon = await TestDaemon.open("system");
    onTestFinished(() => daemon[Symbol.asyncDispose]());
    await daemon.secret("db", "one");
    await daemon.stop();
    await daemon.configure("store: directory\n");
    await expect(daemon.start()).rejects.toThrow(/are not in the folder .* yet/);
    await daemon.configure("");
    await daemon.start();
  });
});

test("files that change all the time never arrive by halves", async ({ expect }) => {
  const desk = await Desk.open();
  desk.sh("seq -s, 1 100 >key; echo >fence");
  await until("both are there", async () => (await desk.names()).length === 2);
  const guest = await desk.guest("key", "fence");
  const writer = spawn(
    "bash",
    [
      "-c",
      "for i in $(seq 40); do { seq -s, 1 50; sleep 0.02; seq -s, 51 100; } >key; sleep 0.0$((RANDOM % 9)); done; seq -s, 2 100 >key",
    ],
    { cwd: desk.folder },
  );
  await once(writer, "exit");
  await until("the last has arrived", () => guest.seen.some(({ brings }) => brings["key"]?.startsWith("2,") === true));
  const whole = new Set(["1,100", "1,50|51,100", "2,100"]);
  const ends = guest.seen
    .flatMap(({ brings }) => brings["key"] ?? [])
    .map((text) =>
      text
        .trim()
        .split("\n")
        .map((line) => line.replace(/,.*,/, ","))
        .join("|"),
    );
  for (const end of ends) expect(whole).toContain(end);
});

test("a file that is truncated and one that is replaced while it is read are read again", async ({ expect }) => {
  const desk = await Desk.open();
  writeFileSync(desk.path("key"), Buffer.alloc(1_048_576, "a"), { mode: 0o600 });
  await until("it is there", async () => (await desk.version("key")) === 1);
  await truncate(desk.path("key"), 10);
  await until("the short one is there", async () => (await desk.secret("key"))?.size === 10);
  expect(await desk.version("key")).toBe(2);
});

/** From now on this process acts as that user. */
function become(id: number): void {
  process.seteuid?.(0);
  process.setegid?.(id);
  process.seteuid?.(id);
}

test("a user's own daemon makes files of his own, keeps the owner that they stand for, and takes files of others once they are quiet", async ({
  expect,
}) => {
  const parent = await mkdtemp("/tmp/hw-");
  onTestFinished(() => rm(parent, { recursive: true }));
  chownSync(parent, STRANGER, STRANGER);
  become(STRANGER);
  const folder = join(parent, ".secrets");
  const store = new DirectoryStore(folder, { write: () => undefined, report: () => undefined });
  become(0);
  const made = await TestVault.open({ mirror: store.mirror });
  onTestFinished(() => made[Symbol.asyncDispose]());
  become(STRANGER);
  await store.open(made.vault);
  onTestFinished(() => store.close());
  // The last that is asked for is done first.
  onTestFinished(() => become(0));

  await made.set("db", "one", { user: 33, group: 34, mode: "0440" });
  const { uid, gid, mode } = statSync(join(folder, "db"));
  expect([uid, gid, mode & 0o7777]).toEqual([STRANGER, STRANGER, 0o440]);
  writeFileSync(join(folder, "mine"), "by hand", { mode: 0o600 });
  become(0);
  writeFileSync(join(folder, "root"), "of root");
  chmodSync(join(folder, "root"), 0o644);
  become(STRANGER);
  await until("all are there", async () => (await made.vault.secrets(admin)).length === 3);
  const owners = (await made.vault.secrets(admin)).map(({ name, delivery }) => [name, delivery.user, delivery.group]);
  expect(owners).toEqual([
    ["db", 33, 34],
    ["mine", STRANGER, STRANGER],
    ["root", 0, 0],
  ]);
});
