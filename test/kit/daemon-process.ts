// The daemon as a user has it: a process of bin/hatchway from the sources, on places of its own.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { ended, type Ended } from "#test/kit/guest-namespace";

const HATCHWAY = resolve(import.meta.dirname, "../../bin/hatchway");

export interface Serving {
  pid: number;
  child: ChildProcess;
  stderr: () => string;
}

export class DaemonProcess {
  readonly folder: string;
  readonly env: Record<string, string>;
  readonly #children: ChildProcess[] = [];

  constructor(folder: string = mkdtempSync("/tmp/hw-")) {
    this.folder = folder;
    this.env = {
      PATH: process.env["PATH"] ?? "",
      HOME: join(folder, "home"),
      XDG_STATE_HOME: join(folder, "s"),
      XDG_CONFIG_HOME: join(folder, "c"),
      XDG_RUNTIME_DIR: join(folder, "r"),
      HATCHWAY_FROM_SOURCE: "1",
      HATCHWAY_NO_AF_VSOCK: "1",
    };
    mkdirSync(join(folder, "r"), { mode: 0o700 });
  }

  get state(): string {
    return join(this.folder, "s/hatchway");
  }

  get runtime(): string {
    return join(this.folder, "r/hatchway");
  }

  get keyFile(): string {
    return join(this.folder, "c/hatchway/root.key");
  }

  /** Runs the CLI to its end, against this daemon. */
  run(args: readonly string[], input: string | Buffer = "", env: Record<string, string> = {}): Promise<Ended> {
    const child = spawn(HATCHWAY, ["-c", "secret:///session", ...args], {
      env: { ...this.env, ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#children.push(child);
    // A command that takes no input may be gone before it is written.
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    return ended(child);
  }

  /** As `run`, and throws what the command said if it failed. */
  async ok(args: readonly string[], input: string | Buffer = ""): Promise<string> {
    const { code, stdout, stderr } = await this.run(args, input);
    if (code !== 0) throw new Error(`hatchway ${args.join(" ")}: ${code} ${stderr}`);
    return stdout;
  }

  /** Starts the daemon; resolves once it serves, or throws what it said when it ended instead. */
  async serve(env: Record<string, string> = {}, args: readonly string[] = []): Promise<Serving> {
    const child = spawn(HATCHWAY, ["serve", "--session", ...args], {
      env: { ...this.env, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#children.push(child);
    let said = "";
    const serves = new Promise<void>((serving, failed) => {
      child.stderr.on("data", (text: Buffer) => {
        said += text.toString();
        if (said.includes(" serves session on ")) serving();
      });
      child.once("close", (code) => failed(new DaemonEnded(code, said)));
    });
    await serves;
    return { pid: child.pid ?? 0, child, stderr: () => said };
  }

  /** How a daemon that cannot serve ends. */
  async refused(env: Record<string, string> = {}, args: readonly string[] = []): Promise<Omit<Ended, "stdout">> {
    try {
      await this.serve(env, args);
    } catch (error) {
      if (error instanceof DaemonEnded) return { code: error.code, stderr: error.stderr };
      throw error;
    }
    throw new Error("the daemon serves, and should not");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

class DaemonEnded extends Error {
  override readonly name = "DaemonEnded";
  readonly code: number | null;
  readonly stderr: string;

  constructor(code: number | null, stderr: string) {
    super(`the daemon ended with ${code}: ${stderr}`);
    this.code = code;
    this.stderr = stderr;
  }
}

export async function endOf({ child }: Serving, signal: NodeJS.Signals): Promise<number | string | null> {
  const gone = once(child, "exit");
  child.kill(signal);
  await gone;
  return child.exitCode ?? child.signalCode;
}
