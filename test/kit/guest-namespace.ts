// A guest's file system without a guest: a mount namespace with a /run of its own, in which agents run for real.
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { arch, tmpdir } from "node:os";
import { join, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "../..");
const ARCH = arch() === "arm64" ? "aarch64" : "x86_64";

export interface Platform {
  name: string;
  command: string[];
}

export const COMPILED: Platform = { name: "compiled", command: [join(ROOT, `dist/agent/${ARCH}/hatchway-agent`)] };
export const ON_NODE: Platform = {
  name: "on Node",
  command: [process.execPath, join(ROOT, "agent/platform/node-main.ts")],
};
export const AARCH64: Platform = {
  name: "aarch64",
  command: [...(ARCH === "aarch64" ? [] : ["qemu-aarch64"]), join(ROOT, "dist/agent/aarch64/hatchway-agent")],
};

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

export class GuestNamespace {
  /** A folder outside, for sockets. */
  readonly outside: string = mkdtempSync(join(tmpdir(), "hatchway-agent-"));
  readonly #holder: ChildProcess;
  readonly #children: Set<ChildProcess> = new Set();

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
  }

  static async open(): Promise<GuestNamespace> {
    // All but /run can't be written: what a test makes the agent do stays in the namespace.
    const script =
      "mount -o remount,bind,ro / && mount -t tmpfs -o mode=755 tmpfs /run && echo ready && exec sleep infinity";
    const holder = spawn("unshare", ["-m", "--propagation", "private", "sh", "-c", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    return new GuestNamespace(holder);
  }

  async close(): Promise<void> {
    for (const child of [...this.#children, this.#holder]) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    rmSync(this.outside, { recursive: true, force: true });
  }

  /** A path of the namespace, as this process reaches it. */
  path(inside: string): string {
    return `/proc/${this.#holder.pid ?? 0}/root${inside}`;
  }

  #inside(argv: readonly string[]): string[] {
    return ["-t", String(this.#holder.pid), "-m", "--", ...argv];
  }

  /** Starts a program in the namespace; its pid is the child's. */
  start(argv: readonly string[], environment: Record<string, string> = {}): ChildProcess {
    const env = { PATH: process.env["PATH"] ?? "", HATCHWAY_NO_AF_VSOCK: "1", ...environment };
    const child = spawn("nsenter", this.#inside(argv), { env, stdio: ["ignore", "pipe", "pipe"] });
    this.#children.add(child);
    child.once("exit", () => this.#children.delete(child));
    return child;
  }

  /** Runs a program in the namespace to its end. */
  async run(argv: readonly string[], environment: Record<string, string> = {}): Promise<Ended> {
    return ended(this.start(argv, environment));
  }

  /** A shell command that must succeed; its output. */
  shell(script: string): string {
    const { status, stdout, stderr } = spawnSync("nsenter", this.#inside(["sh", "-c", script]), { encoding: "latin1" });
    if (status !== 0) throw new Error(`"${script}" ended with ${status ?? "a signal"}: ${stderr}`);
    return stdout;
  }

  /** Each file below a folder: "mode uid gid size path", sorted. */
  listing(inside: string): string[] {
    const top = this.path(inside);
    if (!existsSync(top)) return [];
    return readdirSync(top, { recursive: true, encoding: "utf8" })
      .map((path) => ({ path, stat: statSync(join(top, path)) }))
      .filter(({ stat }) => stat.isFile())
      .map(({ path, stat: { mode, uid, gid, size } }) => `${(mode & 0o7777).toString(8)} ${uid} ${gid} ${size} ${path}`)
      .sort();
  }
}

export async function ended(child: ChildProcess): Promise<Ended> {
  const output = { stdout: "", stderr: "" };
  child.stdout?.on("data", (chunk: Buffer) => (output.stdout += chunk.toString("latin1")));
  child.stderr?.on("data", (chunk: Buffer) => (output.stderr += chunk.toString("latin1")));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...output };
}
