// Programs that a benchmark needs: those of ours in C, made when it begins, and those of others, where they are.
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { Figures } from "./measure.ts";

/** Absolute path of a program; undefined where it is not installed. */
export function find(name: string): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error) return false;
    throw error;
  }
}

export const NOT_INSTALLED = "not installed: see bench/setup";

/** Compiles bench/native/NAME.c into `folder`. */
export function compile(name: string, folder: string, flags: readonly string[] = []): string {
  const source = join(import.meta.dirname, "native", `${name}.c`);
  const out = join(folder, name);
  const argv = ["-O2", "-D_GNU_SOURCE", ...flags, "-o", out, source];
  const { status, stderr, error } = spawnSync("gcc", argv, { encoding: "utf8" });
  if (error) throw new Error("gcc is missing: see bench/setup", { cause: error });
  if (status !== 0) throw new Error(`gcc ended with ${status}: ${stderr}`);
  return out;
}

/** Bytes of one HTTP/1.1 request. */
export function request(line: string, headers: Record<string, string> = {}, body: string = ""): string {
  const fields = {
    host: "hatchway",
    ...(body !== "" && { "content-length": `${Buffer.byteLength(body)}` }),
    ...headers,
  };
  const head = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${line} HTTP/1.1\r\n${head.join("")}\r\n${body}`;
}

interface Loaded {
  requests: number;
  seconds: number;
  p50us: number;
  p99us: number;
  maxus: number;
}

export interface Load {
  /** Paths of unix sockets, or ports of this machine. */
  to: readonly (string | number)[];
  connections: number;
  requests: number;
  /** Requests that go out once before, each ended by a NUL; then the one that is sent again and again. */
  input: string;
}

/** One run of bench/native/load.c. */
export async function load(program: string, { to, connections, requests, input }: Load): Promise<Loaded> {
  const child = spawn(program, [to.join(","), `${connections}`, `${requests}`], { stdio: ["pipe", "pipe", "pipe"] });
  const [stdout, stderr] = await output(child, input);
  if (child.exitCode !== 0) throw new Error(stderr.trim());
  return JSON.parse(stdout) as Loaded;
}

export function rateOf({ requests, seconds, p50us, p99us }: Loaded): Figures {
  return { "per second": requests / seconds, "p50 ms": p50us / 1000, "p99 ms": p99us / 1000 };
}

/** Microseconds of processor that a process has taken so far, all its threads together (proc(5), schedstat). */
export function processorTime(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.reduce((sum, thread) => {
    const [nanoseconds = ""] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ");
    return sum + Number(nanoseconds) / 1000;
  }, 0);
}

async function output(child: ChildProcess, input: string): Promise<[stdout: string, stderr: string]> {
  const texts = ["", ""];
  for (const [at, stream] of [child.stdout, child.stderr].entries()) {
    stream?.on("data", (bytes: Buffer) => {
      texts[at] += bytes.toString();
    });
  }
  child.stdin?.end(input);
  await once(child, "close");
  return [texts[0] ?? "", texts[1] ?? ""];
}

/** Milliseconds of a whole command, from its start until it was waited for. Throws where it fails. */
export function timed(
  [program = "", ...argv]: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
  input = "",
): number {
  const begun = performance.now();
  const { status, stderr } = spawnSync(program, argv, {
    env,
    input,
    stdio: ["pipe", "ignore", "pipe"],
    encoding: "utf8",
  });
  const taken = performance.now() - begun;
  if (status !== 0) throw new Error(`"${program} ${argv.join(" ")}" ended with ${status}: ${stderr}`);
  return taken;
}

/** A server that says something once it serves, and ends when this is disposed. */
export class Server implements AsyncDisposable {
  readonly child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.child = child;
  }

  static async start(program: string, argv: readonly string[]): Promise<Server> {
    const child = spawn(program, argv, { stdio: ["pipe", "pipe", "inherit"] });
    await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
    if (child.exitCode !== null) throw new Error(`"${program}" ended with ${child.exitCode}`);
    return new Server(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = once(this.child, "exit");
    this.child.kill();
    await gone;
  }
}
