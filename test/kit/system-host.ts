// A host with a system daemon, two users that run VMs, and one more: a mount namespace of its own with copies of /etc, a
// new /run and a new /var/lib, so that the machine's are untouched. It all goes when the test's process does.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import type { VmBody } from "#api-vm";

const command = resolve(import.meta.dirname, "../../bin/hatchway");

export interface HostUser {
  name: string;
  uid: number;
  gid: number;
}

export const R1: HostUser = { name: "r1", uid: 61_001, gid: 61_001 };
export const R2: HostUser = { name: "r2", uid: 61_002, gid: 61_002 };
export const THIRD: HostUser = { name: "third", uid: 61_003, gid: 61_003 };
/** Shares the primary group of R1. */
export const R1_GROUP: HostUser = { name: "r1-too", uid: 61_004, gid: 61_001 };

/** What sshd gives its rights up to. */
const SSHD: HostUser = { name: "sshd", uid: 61_005, gid: 65_534 };

const USERS = [R1, R2, THIRD, R1_GROUP, SSHD];

export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

export class SystemHost implements AsyncDisposable {
  readonly #holder: ChildProcess;
  #daemon: ChildProcess | undefined;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  /** A host whose daemon serves. */
  static async start(): Promise<SystemHost> {
    if (process.getuid?.() !== 0) throw new Error("tests of the system daemon run as root");
    const users = USERS.map(({ name, uid, gid }) => `echo ${name}:x:${uid}:${gid}::/:/bin/sh >>/etc/passwd`);
    const groups = USERS.slice(0, 3).map(({ name, gid }) => `echo ${name}:x:${gid}: >>/etc/group`);
    const script = [
      "mount -t tmpfs tmpfs /run && cp -a /etc /run/etc && mount --bind /run/etc /etc",
      // What follows hides the copy's other name, and more.
      "mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=755 tmpfs /var/lib",
      "rm -rf /etc/hatchway && sed -i '/^hatchway:/d' /etc/group && echo hatchway:x:61000: >>/etc/group",
      ...users,
      ...groups,
      "echo ready",
      // Until the test's end of the pipe is closed.
      "exec cat",
    ].join(" && ");
    const holder = spawn("unshare", ["--mount", "--propagation", "private", "sh", "-c", script], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    const host = new SystemHost(holder);
    await host.serve();
    return host;
  }

  async serve(): Promise<void> {
    const daemon = spawn("nsenter", [...this.#enter, command, "serve", "--system"], {
      env: this.#env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#daemon = daemon;
    let words = "";
    await new Promise<void>((serving, failed) => {
      daemon.stderr.on("data", (chunk: Buffer) => {
        words += chunk.toString();
        if (words.includes("serves system on")) serving();
      });
      daemon.once("exit", () => failed(new Error(`the daemon ended: ${words}`)));
    });
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (!daemon || daemon.exitCode !== null || daemon.signalCode !== null) return;
    const exit = once(daemon, "exit");
    daemon.kill(signal);
    await exit;
  }

  /** `hatchway …args` as root. */
  run(args: readonly string[], stdin = ""): Promise<Ended> {
    return this.#spawn([command, "-c", "secret:///system", ...args], stdin);
  }

  async ok(args: readonly string[], stdin = ""): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, stdin);
    if (code !== 0) throw new Error(`hatchway ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  }

  async vm(name: string): Promise<VmBody> {
    return JSON.parse(await this.ok(["vm", "show", name, "--json"])) as VmBody;
  }

  /** A shell script, as a user. */
  shell(user: HostUser, script: string): Promise<Ended> {
    const ids = [`--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups"];
    return this.#spawn(["setpriv", ...ids, "sh", "-c", script]);
  }

  /** A shell script, as root. */
  async root(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.#spawn(["sh", "-c", script]);
    if (code !== 0) throw new Error(`"${script}" ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** The body of an async function with `http`, `fs`, `net`, run by Node as a user; gives what it returns. */
  async node<T>(user: HostUser, body: string): Promise<T> {
    // The user may not be able to read where Node lies, so it becomes him once it runs.
    const program = `
      const http = require("node:http"), fs = require("node:fs"), net = require("node:net");
      process.setgroups([]); process.setgid(${user.gid}); process.setuid(${user.uid});
      (async () => { ${body} })().then((value) => process.stdout.write(JSON.stringify(value)));`;
    const { code, stdout, stderr } = await this.#spawn([process.execPath, "-e", program]);
    if (code !== 0) throw new Error(`node ended with ${code}: ${stderr}`);
    return JSON.parse(stdout) as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#daemon?.exitCode !== null) await this.serve();
    for (const { name } of JSON.parse(await this.ok(["vm", "list", "--json"])) as VmBody[]) {
      await this.ok(["vm", "remove", name]);
    }
    await this.end("SIGTERM");
    const exit = once(this.#holder, "exit");
    this.#holder.stdin?.end();
    await exit;
  }

  /** Starts a program as root and leaves it to the caller, who ends it before the host. */
  start(argv: readonly string[], env: Record<string, string> = {}): ChildProcess {
    return spawn("nsenter", [...this.#enter, ...argv], {
      env: { ...this.#env, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
  }

  /** A path of that host, as this process reaches it. */
  path(inside: string): string {
    return `/proc/${this.#holder.pid}/root${inside}`;
  }

  get #enter(): string[] {
    return [`--mount=/proc/${this.#holder.pid}/ns/mnt`, "--wd=/"];
  }

  get #env(): NodeJS.ProcessEnv {
    return { PATH: process.env["PATH"], HOME: "/root", HATCHWAY_NO_AF_VSOCK: "1" };
  }

  async #spawn(argv: readonly string[], stdin = ""): Promise<Ended> {
    const child = spawn("nsenter", [...this.#enter, ...argv], { env: this.#env, timeout: 120_000 });
    child.stdin.on("error", () => child.stdin.destroy());
    child.stdin.end(stdin);
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    const [code] = (await once(child, "close")) as [number | null];
    return { code: code ?? -1, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() };
  }
}
