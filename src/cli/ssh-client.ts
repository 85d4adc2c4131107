// The user's own ssh, with his own configuration, keys and agent: how commands here reach a guest.
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { HatchwayError } from "#error";
import { stripControl } from "#printable";
import { shellWord } from "./shell-word.ts";

export interface SshFlags {
  /** USER@GUEST, or a name of the user's ssh_config(5). */
  ssh: string;
  identity?: string;
  port?: string;
  sshConfig?: string;
  sudo?: true;
}

/** No part begins with a hyphen, which ssh would take for an option. */
const DESTINATION = /^(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,63}@)?(?:[A-Za-z0-9][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:]{2,45})$/;
/** The guest is not trusted: nothing of the user's is to be had there. */
const FIXED = "-T -e none -o ClearAllForwardings=yes -o ForwardAgent=no -o ForwardX11=no".split(" ");
/** Bytes of the guest's words that are kept, and shown if it fails. */
const MAX_WORDS = 16_384;
const MAX_LINE = 4_096;

/** The arguments of ssh(1). Throws HatchwayError "invalid". */
export function sshWords({ ssh, identity, port, sshConfig }: SshFlags): string[] {
  if (!DESTINATION.test(ssh)) {
    throw new HatchwayError("invalid", `--ssh "${ssh}" should be USER@GUEST, or a name of your ssh configuration`);
  }
  if (port !== undefined && !(/^[1-9][0-9]{0,4}$/.test(port) && Number(port) <= 65_535)) {
    throw new HatchwayError("invalid", `--port "${port}" should be 1 to 65535`);
  }
  return [
    ...FIXED,
    ...(sshConfig === undefined ? [] : ["-F", sshConfig]),
    ...(identity === undefined ? [] : ["-i", identity, "-o", "IdentitiesOnly=yes"]),
    ...(port === undefined ? [] : ["-p", port]),
    "--",
    ssh,
  ];
}

/** A shell script that runs in a guest, with its words in `args`; ends with it. */
export class GuestScript implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #destination: string;
  readonly #exit: Promise<number>;
  readonly #lines: AsyncIterator<string>;
  #said = "";

  private constructor(child: ChildProcessWithoutNullStreams, destination: string) {
    this.#child = child;
    this.#destination = destination;
    this.#lines = linesOf(child.stdout);
    child.stderr.on("data", (chunk: Buffer) => (this.#said = `${this.#said}${chunk.toString()}`.slice(-MAX_WORDS)));
    // Whoever listens no more has ended or failed, and its exit code says which.
    child.stdin.on("error", () => child.stdin.destroy());
    const { promise, resolve } = Promise.withResolvers<number>();
    child.once("error", (error) => {
      this.#said = `cannot run ssh: ${error.message}`;
      resolve(255);
    });
    child.once("close", (code) => resolve(code ?? 255));
    this.#exit = promise;
  }

  static start(flags: SshFlags, script: string, args: readonly string[]): GuestScript {
    const words = [...(flags.sudo === true ? ["sudo", "-n"] : []), "sh", "-c", script, "hatchway", ...args];
    const argv = [...sshWords(flags), words.map(shellWord).join(" ")];
    return new GuestScript(spawn("ssh", argv, { stdio: ["pipe", "pipe", "pipe"] }), flags.ssh);
  }

  /** The next line that begins with `prefix`, without it; what a login says besides is skipped. Throws if it ends before. */
  async line(prefix: string): Promise<string> {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done === true) throw await this.#failure();
      if (value.startsWith(prefix)) return stripControl(value.slice(prefix.length));
    }
  }

  /** Resolves when the bytes are out, so that they may be wiped, or when nobody is there any more who takes them. */
  async send(bytes: Uint8Array): Promise<void> {
    const { stdin } = this.#child;
    if (stdin.destroyed) return;
    await new Promise<void>((resolve) => {
      stdin.write(bytes, () => resolve());
    });
  }

  /** Nothing more is sent. */
  finish(): void {
    this.#child.stdin.end();
  }

  /** Waits for the end. Throws HatchwayError "unavailable", with what the guest said, unless it was a good one. */
  async ended(): Promise<void> {
    if ((await this.#exit) !== 0) throw await this.#failure();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined) return;
    const exit = once(this.#child, "exit");
    this.#child.kill();
    await exit;
  }

  async #failure(): Promise<HatchwayError> {
    this.finish();
    const code = await this.#exit;
    const lines = stripControl(this.#said).trim().split("\n").filter(Boolean);
    const error = lines.findLast((line) => line.startsWith("error: "))?.slice("error: ".length);
    const what = error ?? (code === 255 ? "ssh could not connect" : `its shell ended with ${code}`);
    const rest = error === undefined && lines.length > 0 ? { hint: lines.slice(-10).join("\n") } : {};
    return new HatchwayError("unavailable", `"${this.#destination}": ${what}`, rest);
  }
}

async function* linesOf(output: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of output) {
    const lines = `${rest}${chunk.toString("latin1")}`.split("\n");
    rest = (lines.pop() ?? "").slice(0, MAX_LINE);
    for (const line of lines) yield line;
  }
}
