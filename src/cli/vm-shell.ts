// vm shell: a command in the project's minimal guest.
import type { Writable } from "node:stream";
import type { Socket } from "node:net";
import type { VmBody } from "#api-vm";
import { runInGuest } from "#client/guest-shell";
import { HatchwayError } from "#error";
import { stripControl } from "#printable";
import { parseDuration } from "./quantity.ts";
import type { Session } from "./session.ts";

/**
 * Runs a command as root in the guest, over its shell port; the exit code is the command's. What it writes goes out as
 * it comes: raw to a file or pipe, line by line and without control characters to a terminal.
 */
export async function shellVm(
  session: Session,
  operands: readonly string[],
  flags: { timeout?: string },
): Promise<number> {
  const [name = "", ...argv] = operands;
  const timeoutMs = parseDuration("--timeout", flags.timeout ?? "30s");
  if (argv.length === 0) {
    throw new HatchwayError("invalid", "there is no command to run", {
      hint: `name one: hatchway vm shell ${name} -- ls -l /run/hatchway/secrets`,
    });
  }
  const vm = await session.client.vm(name);
  if (vm.shell_socket === undefined) {
    const why = vm.state === "running" ? "it is not the minimal guest" : `it is ${vm.state}`;
    throw new HatchwayError("unavailable", `vm "${name}" has no shell port: ${why}`);
  }
  const { stdout } = session.terminal;
  const checkPeer = await peerCheck(vm);
  if (session.json) {
    const { code, output } = await runInGuest(vm.shell_socket, argv, { timeoutMs, checkPeer });
    session.printJson({ code, output: output.toString("utf8") });
    return code;
  }
  if (stdout.isTTY !== true) {
    const onOutput = (chunk: Buffer): void => void stdout.write(chunk);
    return (await runInGuest(vm.shell_socket, argv, { timeoutMs, checkPeer, onOutput })).code;
  }
  const lines = new PrintableLines(stdout);
  const onOutput = (chunk: Buffer): void => lines.push(chunk);
  const { code } = await runInGuest(vm.shell_socket, argv, { timeoutMs, checkPeer, onOutput });
  lines.end();
  return code;
}

/** The socket is in a folder of the VM's runner, who could put another in its place: it must be the VM's own process. */
async function peerCheck({ name, pid, runner }: VmBody): Promise<(socket: Socket) => void> {
  // Loaded here, since it brings native code that no other command needs.
  const { descriptorOf, peerCredentials } = await import("#host/peer");
  return (socket) => {
    const peer = peerCredentials(descriptorOf(socket));
    if (peer.pid === pid && peer.uid === runner.uid) return;
    const found = `pid ${peer.pid} of uid ${peer.uid}`;
    throw new HatchwayError(
      "forbidden",
      `the shell port of vm "${name}" is that of ${found}: it should be of pid ${pid}, uid ${runner.uid}`,
      { hint: "nothing was sent; its runner put another socket there" },
    );
  };
}

/** Passes on whole lines, so that neither a character nor an escape sequence is cut in two. */
class PrintableLines {
  readonly #to: Writable;
  #rest: Buffer = Buffer.alloc(0);

  constructor(to: Writable) {
    this.#to = to;
  }

  push(chunk: Buffer): void {
    const all = Buffer.concat([this.#rest, chunk]);
    const end = all.lastIndexOf(0x0a) + 1;
    this.#to.write(stripControl(all.toString("utf8", 0, end)));
    this.#rest = all.subarray(end);
  }

  /** What was begun and not ended; the line is ended for the prompt that follows. */
  end(): void {
    if (this.#rest.length > 0) this.#to.write(`${stripControl(this.#rest.toString("utf8"))}\n`);
  }
}
