// scripts/quickstart does what it shows, and leaves no process, file or mount behind, however it ends.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, it } from "vitest";

const SCRIPT = resolve(import.meta.dirname, "../../scripts/quickstart");
const TERMINALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** One run, in a process group of its own, with a home and a folder for temporary files of its own. */
class Run {
  readonly folder: string = mkdtempSync("/tmp/hq-");
  readonly home: string = join(this.folder, "home");
  readonly temporary: string = join(this.folder, "tmp");
  readonly child: ChildProcess;
  /** The exit code, or the signal that ended it. */
  readonly exited: Promise<number | string>;
  ended = false;
  output = "";

  constructor(environment: Record<string, string> = {}) {
    for (const folder of [this.home, this.temporary]) mkdirSync(folder);
    // What was downloaded and built is used; everything else that a home may hold is looked for here.
    const cache = process.env["XDG_CACHE_HOME"] ?? join(process.env["HOME"] ?? "/root", ".cache");
    const own = { HOME: this.home, XDG_CACHE_HOME: cache, TMPDIR: this.temporary, ...environment };
    this.child = spawn(SCRIPT, [], {
      detached: true,
      env: { ...process.env, ...own },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.output += chunk.toString();
      });
    }
    this.exited = once(this.child, "close").then(([code, signal]) => {
      this.ended = true;
      return (code ?? signal) as number | string;
    });
  }

  /** Resolves once the output holds `text`; throws when the run ends without it. */
  async until(text: string): Promise<void> {
    while (!this.output.includes(text)) {
      if (this.ended) throw new Error(`the quickstart ended without "${text}":\n${this.output}`);
      await sleep(10);
    }
  }

  /** As a terminal does at Ctrl-C: all processes of the group get it. */
  signal(name: NodeJS.Signals): void {
    process.kill(-(this.child.pid ?? 0), name);
  }

  /** Whatever there still is of it. */
  remains(): string[] {
    return [
      ...readdirSync(this.temporary).map((name) => `file ${name}`),
      ...readdirSync(this.home).map((name) => `file in the home: ${name}`),
      ...processes(this.folder).map((process) => `process ${process}`),
      ...readFileSync("/proc/mounts", "utf8")
        .split("\n")
        .filter((line) => line.includes(this.folder)),
    ];
  }
}

/** The processes that name `folder` in their arguments or environment. */
function processes(folder: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => `${read(`/proc/${pid}/cmdline`)}${read(`/proc/${pid}/environ`)}`.includes(`${folder}/`));
}

const isQemu = (pid: string): boolean => read(`/proc/${pid}/cmdline`).includes("qemu-system");

/** Empty for a process that has ended meanwhile, or is of a container around this one. */
function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    if (["ENOENT", "ESRCH", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) return "";
    throw error;
  }
}

describe("scripts/quickstart", () => {
  let run: Run;

  beforeEach(() => {
    run = new Run();
  });

  afterEach(async () => {
    if (!run.ended) run.signal("SIGTERM");
    await run.exited;
    rmSync(run.folder, { recursive: true, force: true });
  });

  it("shows a secret's way into a VM, and leaves nothing behind", async ({ expect }) => {
    expect(await run.exited, run.output).toBe(0);
    expect(run.output).toMatch(/^-r-{8} +1 1000 +1000 +48 .* tls\.key$/m);
    expect(run.output).toMatch(/^cat: .*other-team': No such file or directory$/m);
    expect(run.output).toContain("API_TOKEN has 9 characters");
    const digests = Array.from(run.output.matchAll(/^([0-9a-f]{64}) /gm), ([, digest]) => digest);
    expect(digests).toEqual([digests[0], digests[0]]);
    expect(run.output).toMatch(/^web-1 +running +2 +2 +in sync /m);
    expect(run.output).toMatch(/^done in /m);
    expect(run.output).not.toContain("\u001b");
    expect(run.remains()).toEqual([]);
  });

  const moments = [
    "", // before it has said anything
    "$ hatchway serve",
    "$ hatchway secret create tls.key",
    "$ hatchway vm launch",
    'vm "web-1" is running',
    "$ hatchway secret update",
    "$ hatchway vm remove",
    "$ hatchway stop",
  ];
  for (const [index, moment] of moments.entries()) {
    const signal = TERMINALS[index % TERMINALS.length] ?? "SIGINT";
    it(`leaves nothing behind when ${signal} ends it at "${moment}"`, async ({ expect }) => {
      if (moment === "") await once(run.child, "spawn");
      else await run.until(moment);
      run.signal(signal);
      expect([129, 130, 143, signal], run.output).toContain(await run.exited);
      expect(run.output).not.toContain("done in");
      expect(run.remains()).toEqual([]);
    });
  }

  it("leaves nothing behind when Ctrl-C comes while QEMU starts", async ({ expect }) => {
    await run.until("$ hatchway vm launch");
    while (!run.ended && !processes(run.temporary).some(isQemu)) await sleep(10);
    run.signal("SIGINT");
    expect(await run.exited, run.output).toBe(130);
    expect(run.remains()).toEqual([]);
  });

  it("fails, says where, and leaves nothing behind when its VM dies", async ({ expect }) => {
    await run.until("What the guest itself sees");
    const [, pid = ""] = /vm "web-1" is running \(pid ([0-9]+)\)/.exec(run.output) ?? [];
    expect(read(`/proc/${pid}/cmdline`)).toContain(run.temporary);
    process.kill(Number(pid), "SIGKILL");
    expect(await run.exited, run.output).toBe(1);
    expect(run.output).toMatch(/^error: this command failed|^error: .* is not there as/m);
    expect(run.output).toMatch(/^quickstart: failed at: hatchway /m);
    expect(run.remains()).toEqual([]);
  });
});
