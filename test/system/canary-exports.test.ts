// One value that is nowhere else, through everything that takes values out of the store and into it: backups, images,
// the other kind of store. Each command and the daemon are watched while they run, so that a file that was there for a
// moment counts too.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { beforeAll, onTestFinished, test } from "vitest";
import { callsWith, formsOf, recorded, recordProcess } from "#test/kit/canary";
import { DaemonProcess, endOf, type Serving } from "#test/kit/daemon-process";
import { ended } from "#test/kit/guest-namespace";
import { bundle } from "#test/kit/session-daemon";

const HATCHWAY = resolve("bin/hatchway");

/** A user with a daemon, and all that they say and do. */
class Watched {
  readonly made: DaemonProcess = new DaemonProcess();
  /** In memory, and not among what is searched. */
  readonly own: string = mkdtempSync("/dev/shm/hw-own-");
  readonly logs: string[] = [];
  readonly outputs: string[] = [];
  #daemon: Serving | undefined;

  async serve(): Promise<void> {
    this.#daemon = await this.made.serve({ HATCHWAY_FROM_SOURCE: "" });
    await recordProcess(this.#log(), this.#daemon.pid);
  }

  async end(): Promise<void> {
    if (!this.#daemon) return;
    await endOf(this.#daemon, "SIGTERM");
    this.outputs.push(this.#daemon.stderr());
  }

  async run(args: readonly string[], input: string | Buffer = ""): Promise<string> {
    const [program, all] = recorded(this.#log(), [HATCHWAY, ...args]);
    const child = spawn(program, all, {
      env: { ...this.made.env, HATCHWAY_FROM_SOURCE: "" },
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin.on("error", () => child.stdin.destroy());
    child.stdin.end(input);
    const { code, stdout, stderr } = await ended(child);
    this.outputs.push(stdout, stderr);
    return `${code} ${stderr}`;
  }

  async ok(args: readonly string[], input: string | Buffer = ""): Promise<void> {
    const told = await this.run(args, input);
    if (!told.startsWith("0 ")) throw new Error(`hatchway ${args.join(" ")}: ${told}`);
  }

  filesOf(folder: string): string[] {
    return readdirSync(folder, { recursive: true, encoding: "utf8" })
      .map((path) => join(folder, path))
      .filter((path) => statSync(path).isFile());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.made[Symbol.asyncDispose]();
    rmSync(this.own, { recursive: true });
  }

  #log(): string {
    const log = join(this.own, `calls-${this.logs.length}`);
    this.logs.push(log);
    return log;
  }
}

beforeAll(bundle);

test(
  "a value that goes out sealed or to memory, and comes back, is in no other file, log, error, argv or environment",
  {
    timeout: 300_000,
  },
  async ({ expect }) => {
    const user = new Watched();
    onTestFinished(() => user[Symbol.asyncDispose]());
    const { made, own } = user;
    // Words, so that it can be found in what strace prints.
    const value = Buffer.from(randomBytes(48).toString("hex"));
    const identity = await generateIdentity();
    const recipient = await identityToRecipient(identity);
    const identityFile = join(own, "identity.txt");
    const phrase = join(own, "phrase");
    writeFileSync(identityFile, `${identity}\n`, { mode: 0o600 });
    writeFileSync(phrase, "correct horse battery\n", { mode: 0o600 });
    const plain = join(own, "files");
    const out = (name: string): string => join(made.folder, name);

    await user.serve();
    await user.ok(["secret", "create", "db"], value);
    await user.ok(["secret", "create", "TOKEN", "--env"], value);
    await user.ok(["secret", "update", "db"], value);
    await user.ok(["vm", "create", "web", "--external", "--secret", "db", "--secret", "TOKEN"]);
    await user.ok(["backup", out("all.age"), "--recipient", recipient]);
    await user.ok(["backup", out("db.age"), "--passphrase-file", phrase, "--only", "db"]);
    await user.ok(["backup", "-", "--recipient", recipient]);
    expect(await user.run(["backup", out("all.age"), "--recipient", recipient])).toMatch(/^4 /);
    await user.ok(["key", "backup", "--recipient", recipient, "--output", out("keys.age")]);
    for (const format of ["erofs", "squashfs", "iso", "tar", "sealed"]) {
      const sealedTo = format === "iso" ? ["--key", join(own, "iso.key")] : ["--recipient", recipient];
      await user.ok(["image", "build", "web", "--format", format, "--out", out(`web.${format}`), ...sealedTo]);
    }
    await user.ok(["image", "build", "web", "--format", "erofs", "--out", join(own, "web.erofs")]);
    expect(await user.run(["image", "build", "web", "--format", "erofs", "--out", out("open.erofs")])).toMatch(/^2 /);
    await user.ok(["vm", "explain", "web"]);
    await user.ok(["vm", "args", "web", "--vmm", "qemu", "--channel", "disk", "--file", join(own, "web.erofs")]);

    // Into a store in use, and over one that is not empty.
    expect(await user.run(["restore", out("db.age"), "--passphrase-file", phrase, "--only", "db"])).toMatch(/^4 /);
    await user.ok(["secret", "remove", "db"]);
    await user.ok(["restore", out("db.age"), "--passphrase-file", phrase, "--only", "db"]);
    await user.end();
    const restore = ["restore", out("all.age"), "--identity", identityFile, "--session"];
    expect(await user.run(restore)).toMatch(/^4 /);
    renameSync(made.state, out("before"));
    await user.ok(restore);

    // To plain files, which are the user's choice, and back.
    await user.ok(["store", "migrate", "sqlite", `directory:${plain}`, "--session"]);
    expect(readFileSync(join(plain, "db")).equals(value)).toBe(true);
    await user.ok(["store", "migrate", `directory:${plain}`, "sqlite", "--remove-files", "--session"]);
    await user.serve();
    await user.ok(["audit", "export"]);
    await user.ok(["logs"]);
    await user.end();

    const needles = formsOf(value);
    const isOwn = (path: string): boolean => path.startsWith(`${own}/`);
    for (const log of user.logs) expect(callsWith(log, needles, isOwn)).toEqual([]);
    for (const path of user.filesOf(made.folder)) {
      const bytes = readFileSync(path);
      expect(
        needles.some((form) => bytes.includes(form)),
        path,
      ).toBe(false);
    }
    for (const text of user.outputs) {
      expect(
        needles.some((form) => Buffer.from(text, "latin1").includes(form)),
        text.slice(0, 500),
      ).toBe(false);
    }
    // The search finds what is there: the plain files, while there were any.
    expect(user.logs.flatMap((log) => callsWith(log, needles, () => false)).length).toBeGreaterThan(0);
  },
);
