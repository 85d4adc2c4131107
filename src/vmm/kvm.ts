// Whether KVM works here, for a given user. That /dev/kvm exists says little: the runner may not be allowed to open it, and
// a host that is itself virtual may offer a KVM that aborts QEMU or hangs a stock kernel. So the kernel that is to run is
// started under KVM for a moment, as the runner, and KVM is used if it says its first words.

import type { ChildProcess } from "node:child_process";
import { readFile, rename, stat, writeFile } from "node:fs/promises";
import process from "node:process";
import { HatchwayError } from "#error";
import { Mutex } from "#mutex";
import type { Accelerator, MachineSpec } from "#vmm";
import { bootId } from "./process.ts";
import { probeArguments } from "./qemu.ts";
import { spawnProbe } from "./spawn.ts";

const probeTimeoutMs = 3_000;
const device = "/dev/kvm";

/** The kernel's first line. Its real-mode code writes to the console before, and that proves too little. */
const firstWords = "Linux version";

type Probed = Pick<MachineSpec, "runner" | "kernel">;

/**
 * Chooses by trying, once per boot of the host, runner and kernel. The answers are kept in `cacheFile` (JSON, no secret),
 * which belongs to whoever runs the daemon and is made again when it cannot be read.
 */
export class AcceleratorChoice {
  readonly #cacheFile: string;
  readonly #probes = new Map<string, Promise<Accelerator>>();
  readonly #keeping = new Mutex();

  constructor(cacheFile: string) {
    this.#cacheFile = cacheFile;
  }

  /** At most some three seconds the first time. Throws HatchwayError as `spawnProbe` does. */
  async choose(machine: Probed): Promise<Accelerator> {
    if (process.arch !== "x64") return { kind: "tcg", reason: `the guest is x86-64 and this host is ${process.arch}` };
    const state = await deviceState();
    if (state === undefined) return { kind: "tcg", reason: `${device} does not exist` };
    const key = [bootId(), state, machine.runner.uid, machine.kernel, await modified(machine.kernel)].join(" ");
    const known = this.#probes.get(key);
    if (known !== undefined) return known;
    const probe = this.#cachedProbe(key, machine);
    this.#probes.set(key, probe);
    // A probe that could not be made says nothing of KVM, so the next machine tries again.
    probe.catch(() => this.#probes.delete(key));
    return probe;
  }

  async #cachedProbe(key: string, machine: Probed): Promise<Accelerator> {
    const cache = await this.#readCache();
    const cached = cache[key];
    if (cached !== undefined) return cached;
    const result = await probeKvm(machine);
    // One after the other: runners whose first machines start together would write over each other.
    await this.#keeping.run("", () => this.#keep(key, result));
    return result;
  }

  async #keep(key: string, result: Accelerator): Promise<void> {
    // What was learnt in an earlier boot is of no use in this one.
    const current = Object.entries({ ...(await this.#readCache()), [key]: result });
    await this.#writeCache(Object.fromEntries(current.filter(([entry]) => entry.startsWith(bootId()))));
  }

  async #readCache(): Promise<Record<string, Accelerator>> {
    try {
      return parseCache(await readFile(this.#cacheFile, "utf8"));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
      throw error;
    }
  }

  async #writeCache(cache: Record<string, Accelerator>): Promise<void> {
    const fresh = `${this.#cacheFile}.${process.pid}`;
    await writeFile(fresh, JSON.stringify(cache, undefined, 2), { mode: 0o600 });
    await rename(fresh, this.#cacheFile);
  }
}

/** A cache that is not whole counts as empty: it only saves a probe. */
export function parseCache(text: string): Record<string, Accelerator> {
  const cache: Record<string, Accelerator> = {};
  for (const [key, value] of Object.entries(parseObject(text))) {
    const { kind, reason } = value as { kind?: unknown; reason?: unknown };
    if (kind === "kvm") cache[key] = { kind };
    else if (kind === "tcg" && typeof reason === "string") cache[key] = { kind, reason };
  }
  return cache;
}

function parseObject(text: string): Record<string, object> {
  try {
    const value: unknown = JSON.parse(text);
    const members = typeof value === "object" && value !== null ? Object.entries(value) : [];
    return Object.fromEntries(members.filter(([, member]) => typeof member === "object" && member !== null));
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}

/** Starts the kernel under KVM, without initrd or devices, until it speaks. Never takes longer than `timeoutMs`. */
export async function probeKvm(machine: Probed, timeoutMs: number = probeTimeoutMs): Promise<Accelerator> {
  // The process has a limit of its own, in case this one ends in the middle.
  const started = spawnProbe(probeArguments(machine.kernel), machine.runner, Math.ceil(timeoutMs / 1000) + 1);
  const { child } = started;
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      endProbe(child);
      resolve({ kind: "tcg", reason: `the kernel said nothing under KVM within ${timeoutMs} ms` });
    }, timeoutMs);
    child.once("close", () => {
      clearTimeout(timer);
      resolve({ kind: "tcg", reason: reasonOf(started.lastWords()) });
    });
    whenSaid(child, firstWords, () => {
      clearTimeout(timer);
      endProbe(child);
      resolve({ kind: "kvm" });
    });
  });
}

/** QEMU's first complaint, without its own name. */
function reasonOf(words: string): string {
  const line = words.split("\n", 1)[0] ?? "";
  return line.replace(/^qemu-system-\w+: (error: )?/, "") || "QEMU ended without a word";
}

/** The probe and what it started: they are a process group. */
function endProbe(child: ChildProcess): void {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
    process.kill(-child.pid, "SIGKILL");
}

function whenSaid(child: ChildProcess, words: string, said: () => void): void {
  let heard = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    heard = (heard + chunk.toString("latin1")).slice(-4096);
    if (heard.includes(words)) said();
  });
}

async function modified(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    throw new HatchwayError("not-found", `kernel "${path}" does not exist or cannot be read`, { cause: error });
  }
}

async function deviceState(): Promise<string | undefined> {
  try {
    const { mode, uid, gid, rdev } = await stat(device);
    return [mode, uid, gid, rdev].join(":");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
