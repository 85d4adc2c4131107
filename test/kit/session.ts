// A user's session: a daemon of his own in a folder of his own, and the commands that he types, run as they are.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { SecretBody, StatusBody } from "#api";
import type { VmBody } from "#api-vm";

const command = resolve(import.meta.dirname, "../../bin/hatchway");

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  stdin?: string | Buffer;
  /** Milliseconds. */
  timeout?: number;
}

export class Session implements AsyncDisposable {
  /** Short, for the sake of unix sockets. */
  readonly folder: string = mkdtempSync("/tmp/hw.");
  readonly env: NodeJS.ProcessEnv = {
    PATH: process.env["PATH"],
    HOME: this.folder,
    XDG_STATE_HOME: join(this.folder, "s"),
    XDG_CONFIG_HOME: join(this.folder, "c"),
    XDG_RUNTIME_DIR: join(this.folder, "r"),
    HATCHWAY_NO_AF_VSOCK: "1",
  };
  #daemon: ChildProcess | undefined;

  /** A session whose daemon serves. */
  static async start(): Promise<Session> {
    const session = new Session();
    await session.serve();
    return session;
  }

  get runtime(): string {
    return join(this.folder, "r/hatchway");
  }

  get state(): string {
    return join(this.folder, "s/hatchway");
  }

  get pid(): number {
    return this.#daemon?.pid ?? 0;
  }

  /** Starts the daemon in the foreground, and waits until it serves. */
  async serve(flags: readonly string[] = []): Promise<void> {
    const daemon = spawn(command, ["serve", "--session", ...flags], {
      env: this.env,
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#daemon = daemon;
    let words = "";
    await new Promise<void>((serving, failed) => {
      daemon.stderr.on("data", (chunk: Buffer) => {
        words += chunk.toString();
        if (words.includes("serves session on")) serving();
      });
      daemon.once("exit", () => failed(new Error(`the daemon ended: ${words}`)));
    });
  }

  /** Ends the daemon by a signal and gives its exit code, or the signal. */
  async end(signal: NodeJS.Signals): Promise<number | string> {
    const daemon = this.#daemon;
    this.#daemon = undefined;
    if (!daemon || daemon.exitCode !== null) return daemon?.exitCode ?? 0;
    const exit = once(daemon, "exit") as Promise<[number | null, string | null]>;
    daemon.kill(signal);
    const [code, by] = await exit;
    return code ?? by ?? "unknown";
  }

  /** Runs `hatchway …args`. */
  async run(args: readonly string[], { stdin = "", timeout = 60_000 }: RunOptions = {}): Promise<Ran> {
    const child = spawn(command, args, { env: this.env, stdio: ["pipe", "pipe", "pipe"], timeout });
    child.stdin.on("error", () => child.stdin.destroy());
    child.stdin.end(stdin);
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "close") as Promise<[number | null]>,
    ]);
    return { code: code ?? -1, stdout, stderr };
  }

  /** Runs a command that must succeed, and gives its stdout. */
  async ok(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, options);
    if (code !== 0) throw new Error(`hatchway ${args.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** Runs a shell script as root in a VM of the minimal guest, and gives its output; it must succeed. */
  async guest(vm: string, script: string): Promise<string> {
    return this.ok(["vm", "shell", vm, "--", "sh", "-c", script]);
  }

  /** The same with its exit code. */
  async tryGuest(vm: string, script: string): Promise<Ran> {
    return this.run(["vm", "shell", vm, "--", "sh", "-c", script]);
  }

  async vm(name: string): Promise<VmBody> {
    return JSON.parse(await this.ok(["vm", "show", name, "--json"])) as VmBody;
  }

  async status(): Promise<StatusBody> {
    return JSON.parse(await this.ok(["status", "--json"])) as StatusBody;
  }

  async secret(name: string): Promise<SecretBody> {
    return JSON.parse(await this.ok(["secret", "show", name, "--json"])) as SecretBody;
  }

  /** Waits until the VM has all that it is to have. */
  async synced(vm: string): Promise<void> {
    await this.ok(["vm", "status", vm, "--wait", "--timeout", "20s"]);
  }

  /** Removes the VMs, ends the daemon, and takes the folder away. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#daemon?.exitCode !== null || this.#daemon.signalCode !== null) await this.serve();
    for (const { name } of (await this.status()).vms ?? []) await this.ok(["vm", "remove", name]);
    await this.end("SIGTERM");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A session whose daemon serves guests of a network on the loopback, by a certificate for these names. */
export async function withGuests(...names: string[]): Promise<Session> {
  const session = new Session();
  await session.ok(["pki", "init", "--session"]);
  await session.ok(["pki", "server", "guests", "--session", ...names.flatMap((name) => ["--name", name])]);
  const config = join(session.folder, "c/hatchway/config.yaml");
  writeFileSync(config, 'guest-listen: ["127.0.0.1:0"]\n', { mode: 0o600 });
  await session.serve();
  return session;
}

async function text(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
