// A domain of this host's libvirt as it runs now: which process it is, when its guest is rebooted, and a port for it.
// virsh(1) asks, in processes of its own: libvirt's library would bring its threads and its log into ours.
import { spawn, type ChildProcess, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { HatchwayError } from "#error";
import { errnoText, isErrno, ownUid } from "#host/files";
import { memoryFile } from "#host/memfd";
import { stripControl } from "#printable";
import type { Runner } from "#vm";
import type { ProcessIdentity, Sighting } from "#vmm";
import { serialElement } from "./libvirt.ts";
import { agentPort } from "./qemu.ts";
import { identify, ownerOf, untilGone } from "./process.ts";

/** Milliseconds for one answer of libvirt's. */
const ANSWER_MS = 20_000;

/** Throws HatchwayError "not-found" while the domain does not run. */
export async function lookByLibvirt(domain: string, reset: () => void): Promise<Sighting> {
  const pid = await pidOf(domain);
  const process = identify(pid);
  const runner = ownerOf(pid);
  if (!process || !runner) throw notRunning(domain);
  return new DomainSighting(domain, process, runner, reset);
}

class DomainSighting implements Sighting {
  readonly process: ProcessIdentity;
  readonly runner: Runner;
  readonly ended: Promise<void>;
  readonly #domain: string;
  readonly #events: ChildProcess;
  readonly #closing = new AbortController();

  constructor(domain: string, process: ProcessIdentity, runner: Runner, reset: () => void) {
    this.process = process;
    this.runner = runner;
    this.#domain = domain;
    this.#events = spawn("virsh", [...connection(), "event", "--domain", domain, "--event", "reboot", "--loop"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    // Without virsh nothing would have been seen; what it is for ends with it, and is looked for again.
    this.#events.once("error", () => this.#closing.abort());
    this.#events.once("exit", () => this.#closing.abort());
    if (this.#events.stdout) {
      createInterface({ input: this.#events.stdout }).on("line", (line) => {
        if (line.startsWith("event 'reboot' ")) reset();
      });
    }
    this.ended = untilGone(process, this.#closing.signal).then(() => this.close());
  }

  async plug(socket: string): Promise<void> {
    const domain = this.#domain;
    if ((await virsh(["dumpxml", "--domain", domain])).includes(`name='${agentPort}'`)) return;
    try {
      await virsh(["attach-device", "--domain", domain, "--file", HANDED, "--live"], serialElement(socket));
    } catch (cause) {
      if (!(cause instanceof HatchwayError)) throw cause;
      throw new HatchwayError("unsupported", `libvirt plugs no port into domain "${domain}": ${cause.message}`, {
        hint: "put what this prints into its XML, and start it again: hatchway vm args NAME --vmm libvirt",
        cause,
      });
    }
  }

  close(): void {
    this.#closing.abort();
    this.#events.kill();
  }
}

/** libvirt writes it beside its state of the domain, in a folder of its own user. */
async function pidOf(domain: string): Promise<number> {
  const folder =
    ownUid() === 0 ? "/run/libvirt/qemu" : `${process.env["XDG_RUNTIME_DIR"] ?? "/run/user/0"}/libvirt/qemu/run`;
  const path = `${folder}/${domain}.pid`;
  try {
    const pid = Number((await readFile(path, "latin1")).trim());
    if (Number.isSafeInteger(pid) && pid > 0) return pid;
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) throw notRunning(domain, cause);
    throw new HatchwayError("unavailable", `cannot read "${path}": ${errnoText(cause)}`, { cause });
  }
  throw notRunning(domain);
}

function notRunning(domain: string, cause?: unknown): HatchwayError {
  return new HatchwayError("not-found", `libvirt's domain "${domain}" does not run`, { cause });
}

/** The system's for root, else the user's own. */
function connection(): string[] {
  return ["-c", ownUid() === 0 ? "qemu:///system" : "qemu:///session"];
}

/** What virsh reads as a file, and has no name: its descriptor of what it was handed. */
const HANDED = "/proc/self/fd/3";

/** What a command of virsh answers, with `file` at `HANDED`. Throws "unavailable" with its reason. */
async function virsh(words: readonly string[], file: string = ""): Promise<string> {
  const fd = memoryFile("hatchway-virsh", Buffer.from(file));
  const child = spawn("virsh", [...connection(), ...words], {
    stdio: ["ignore", "pipe", "pipe", fd],
    timeout: ANSWER_MS,
  }) as ChildProcessByStdio<null, Readable, Readable>;
  closeSync(fd);
  try {
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "close") as Promise<[number | null]>,
    ]);
    if (code === 0) return stdout;
    const reason = stripControl(stderr.trim().split("\n").at(-1) ?? "").replace(/^error: /, "");
    const why = reason === "" ? `no answer within ${ANSWER_MS / 1000} s` : reason;
    throw new HatchwayError("unavailable", `virsh ${words[0]}: ${why}`);
  } catch (cause) {
    if (cause instanceof HatchwayError) throw cause;
    throw new HatchwayError("unavailable", `virsh cannot be run: ${errnoText(cause)}`, { cause });
  }
}
