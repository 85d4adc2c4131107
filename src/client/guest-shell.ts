// Runs commands as root in the minimal guest, over its shell port; guest/init is the other end.
//
//   host:   "\n" TOKEN " " BASE64 "\n"                                BASE64 is a shell command
//   guest:  TOKEN " start\n" OUTPUT "\n" TOKEN " exit " STATUS "\n"    OUTPUT is any bytes, STATUS decimal
//
// TOKEN is 32 random hexadecimal digits. The leading newline ends a line that somebody before us left half, and all that
// comes before our token is somebody else's and is skipped. A request can be lost, with
// the guest's reboot for one, so it is repeated until it has started; the guest does not start one token twice. The guest
// ends a command when the host hangs up.

import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import { HatchwayError, toHatchwayError } from "#error";

/** The guest's shell reads the line byte by byte. */
const maximumCommand = 32 * 1024;
const repeatMs = 2_000;
const maximumOutput = 64 * 1024 * 1024;

export interface ShellOptions {
  /** For the whole of it, the guest's boot included if it is still booting. */
  timeoutMs: number;
  /** Called once connected, before a byte is sent: throws HatchwayError unless the other end is the VM's. */
  checkPeer?: (socket: Socket) => void;
  /** Called with output as it comes; `output` of the result is then empty. */
  onOutput?: (chunk: Buffer) => void;
}

export interface ShellResult {
  /** The command's exit status; 128 + N for one that signal N ended. */
  code: number;
  /** What it wrote to its standard output and standard error, in order. */
  output: Buffer;
}

/**
 * Runs `argv` in the guest with nothing on its standard input. What it starts in the background ends with it, unless that
 * is in a session of its own (setsid). A command that a reboot of the guest cuts off ends in "timeout". Throws HatchwayError "unavailable" when the VM has no shell port or ends,
 * "timeout", "too-large" for a command over 32 KiB or output over 64 MiB.
 */
export function runInGuest(socketPath: string, argv: string[], options: ShellOptions): Promise<ShellResult> {
  const token = randomBytes(16).toString("hex");
  const command = Buffer.from(argv.map(quote).join(" ")).toString("base64");
  if (command.length > maximumCommand) {
    throw new HatchwayError("too-large", `a command for the guest should be at most ${maximumCommand} bytes in base64`);
  }
  const socket = connect(socketPath);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const finish = (): void => {
      clearTimeout(timer);
      clearInterval(repeat);
      socket.destroy();
    };
    const refuse = (error: HatchwayError): void => {
      finish();
      reject(error);
    };
    const timer = setTimeout(() => {
      refuse(new HatchwayError("timeout", `the guest did not finish "${argv[0]}" within ${options.timeoutMs} ms`));
    }, options.timeoutMs);
    const answer = new Answer(token, (chunk) => {
      if (options.onOutput !== undefined) {
        options.onOutput(chunk);
        return;
      }
      chunks.push(Buffer.from(chunk));
      length += chunk.length;
      if (length > maximumOutput)
        refuse(new HatchwayError("too-large", `"${argv[0]}" wrote over ${maximumOutput} bytes`));
    });
    const ask = (): void => {
      if (!answer.started && !socket.connecting) socket.write(`\n${token} ${command}\n`);
    };
    const repeat = setInterval(ask, repeatMs);
    socket.on("connect", () => {
      try {
        options.checkPeer?.(socket);
        ask();
      } catch (thrown) {
        refuse(toHatchwayError(thrown));
      }
    });
    socket.on("data", (chunk) => {
      const code = answer.push(chunk);
      if (code === undefined) return;
      finish();
      resolve({ code, output: Buffer.concat(chunks) });
    });
    refuseWhenLost(socket, socketPath, refuse);
  });
}

function refuseWhenLost(socket: Socket, path: string, refuse: (error: HatchwayError) => void): void {
  socket.on("error", (error) => {
    refuse(new HatchwayError("unavailable", `the guest's shell port "${path}" does not answer`, { cause: error }));
  });
  socket.on("close", () => refuse(new HatchwayError("unavailable", "the VM ended while a command ran in its guest")));
}

/** A word of a POSIX shell that stands for `word`. */
export function quote(word: string): string {
  if (word.includes("\0")) throw new HatchwayError("invalid", "a command's word should have no NUL");
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Finds the output of one command in what the guest sends, in whatever pieces it comes. */
export class Answer {
  readonly #start: Buffer;
  readonly #trailer: Buffer;
  readonly #onOutput: (chunk: Buffer) => void;
  #rest: Buffer = Buffer.alloc(0);
  #started = false;

  constructor(token: string, onOutput: (chunk: Buffer) => void) {
    this.#start = Buffer.from(`${token} start\n`);
    this.#trailer = Buffer.from(`\n${token} exit `);
    this.#onOutput = onOutput;
  }

  /** Whether the guest has taken the command. */
  get started(): boolean {
    return this.#started;
  }

  /** The exit status, once it is there. */
  push(chunk: Buffer): number | undefined {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    if (!this.#started && !this.#skipToStart()) return undefined;
    const at = this.#rest.indexOf(this.#trailer);
    if (at < 0) {
      this.#flush(this.#rest.length - this.#trailer.length + 1);
      return undefined;
    }
    this.#flush(at);
    const status = /^(\d{1,3})\n/.exec(this.#rest.toString("latin1", this.#trailer.length, this.#trailer.length + 4));
    return status === null ? undefined : Number(status[1]);
  }

  #skipToStart(): boolean {
    const at = this.#rest.indexOf(this.#start);
    if (at < 0) {
      this.#rest = this.#rest.subarray(Math.max(0, this.#rest.length - this.#start.length + 1));
      return false;
    }
    this.#rest = this.#rest.subarray(at + this.#start.length);
    this.#started = true;
    return true;
  }

  #flush(length: number): void {
    if (length <= 0) return;
    this.#onOutput(this.#rest.subarray(0, length));
    this.#rest = this.#rest.subarray(length);
  }
}
