// The hidden prompt. The terminal is in raw mode meanwhile, so that nothing is echoed, and the bytes go from its chunks
// into one buffer: what is typed is never a string.
import { HatchwayError } from "#error";
import { MAX_VALUE_SIZE } from "#protocol/names";
import { takeChunks } from "./chunks.ts";
import { Interrupted } from "./failure.ts";
import type { Terminal } from "./session.ts";

const CTRL_C = 0x03;
const CTRL_D = 0x04;
const CTRL_U = 0x15;
const TAB = 0x09;
const ESCAPE = 0x1b;

/**
 * Asks for a value twice and answers it, in a buffer that the caller wipes. Backspace and Ctrl-U edit. Throws
 * Interrupted on Ctrl-C and at the end of input, "invalid" when the two differ, "too-large" beyond 1 MiB; the terminal is
 * as it was before in every case.
 */
export async function promptTwice(terminal: Terminal, name: string): Promise<Buffer> {
  return promptSame(terminal, `value of "${name}" (hidden): `);
}

/** The same with words of its own. */
export async function promptSame(terminal: Terminal, label: string): Promise<Buffer> {
  const [first, second] = await readHidden(terminal, [label, "the same again: "]);
  try {
    if (first !== undefined && second !== undefined && first.equals(second)) return Buffer.from(first);
    throw new HatchwayError("invalid", "the two values that were typed differ", {
      hint: "a value of several lines comes from a file or a pipe: --from-file PATH, or < PATH",
    });
  } finally {
    first?.fill(0);
    second?.fill(0);
  }
}

/** Asks once: for what is known already, and refused if it is mistyped. */
export async function promptOnce(terminal: Terminal, label: string): Promise<Buffer> {
  const [line] = await readHidden(terminal, [label]);
  if (!line) throw new Interrupted("the terminal closed");
  return line;
}

/** Reads one line a label. */
async function readHidden({ stdin, stderr }: Terminal, labels: readonly string[]): Promise<Buffer[]> {
  const lines: Buffer[] = [];
  const line = new HiddenLine();
  stdin.setRawMode?.(true);
  try {
    stderr.write(labels[0] ?? "");
    const read = await takeChunks(stdin, (chunk) => {
      for (const byte of chunk) {
        if (line.take(byte) === "more") continue;
        lines.push(line.finish());
        stderr.write("\n");
        if (lines.length === labels.length) return "done";
        stderr.write(labels[lines.length] ?? "");
      }
      return "more";
    });
    if (read === "done") return lines;
    throw new Interrupted("the terminal closed");
  } catch (error) {
    for (const read of lines) read.fill(0);
    stderr.write("\n");
    throw error;
  } finally {
    line.wipe();
    stdin.setRawMode?.(false);
  }
}

/** One line as it is typed. */
class HiddenLine {
  readonly #bytes = Buffer.allocUnsafeSlow(MAX_VALUE_SIZE + 1);
  #length = 0;
  /** Within an escape sequence, such as an arrow key sends (ECMA-48): it is not part of the value. */
  #escape: "none" | "begun" | "sequence" = "none";

  take(byte: number): "more" | "end" {
    if (this.#escape !== "none") {
      if (this.#escape === "begun") this.#escape = byte === 0x5b || byte === 0x4f ? "sequence" : "none";
      else if (byte >= 0x40 && byte <= 0x7e) this.#escape = "none";
      return "more";
    }
    if (byte === 0x0d || byte === 0x0a || byte === CTRL_D) return "end";
    if (byte === CTRL_C) throw new Interrupted("interrupted");
    if (byte === 0x7f || byte === 0x08) this.#erase();
    else if (byte === CTRL_U) this.wipe();
    else if (byte === ESCAPE) this.#escape = "begun";
    else if (byte >= 0x20 || byte === TAB) this.#append(byte);
    return "more";
  }

  /** A copy of just the line; the larger buffer is wiped. */
  finish(): Buffer {
    const line = Buffer.allocUnsafeSlow(this.#length);
    this.#bytes.copy(line, 0, 0, this.#length);
    this.wipe();
    return line;
  }

  wipe(): void {
    this.#bytes.fill(0, 0, this.#length);
    this.#length = 0;
  }

  #append(byte: number): void {
    if (this.#length === MAX_VALUE_SIZE) throw new HatchwayError("too-large", "the value is larger than 1 MiB");
    this.#bytes[this.#length] = byte;
    this.#length += 1;
  }

  /** Takes the last character away: the bytes of UTF-8 that continue it, and the one that leads. */
  #erase(): void {
    let continues = true;
    while (continues && this.#length > 0) {
      this.#length -= 1;
      continues = ((this.#bytes[this.#length] ?? 0) & 0xc0) === 0x80;
      this.#bytes[this.#length] = 0;
    }
  }
}
