// A file of variables, as shells, docker and dotenv know it, read as bytes:
//
//   # a comment
//   NAME=value                 to the end of the line, without spaces around it; " #" begins a comment
//   export NAME='value'        as it stands, over lines
//   NAME="line\nline"          with \n \r \t \" \\ \$, over lines
//
// Nothing is expanded: a $ is a $.
import { envNameProblem } from "#protocol/names";
import { valueBuffer } from "#value-buffer";
import { unreadable, type Found, type Imported } from "./imported.ts";

const [NEWLINE, RETURN, SPACE, TAB, HASH, EQUALS, BACKSLASH] = [0x0a, 0x0d, 0x20, 0x09, 0x23, 0x3d, 0x5c];
const [SINGLE, DOUBLE] = [0x27, 0x22];
const ESCAPES = new Map('nrt"\\$`'.split("").map((letter, at) => [letter.charCodeAt(0), '\n\r\t"\\$`'.charCodeAt(at)]));

/** Each variable is a secret of its name, delivered as that variable. */
export function readEnvFile(file: Buffer): Found {
  const reader = new Lines(file);
  const secrets: Imported[] = [];
  try {
    for (let next = reader.variable(); next; next = reader.variable()) {
      secrets.push({ ...next, metadata: { env: next.name, file: false } });
    }
  } catch (error) {
    for (const { value } of secrets) value.fill(0);
    throw error;
  }
  return { secrets, skipped: [] };
}

class Lines {
  readonly #file: Buffer;
  #at = 0;
  #line = 1;

  constructor(file: Buffer) {
    this.#file = file;
  }

  /** The next one; undefined at the end. */
  variable(): { name: string; value: Buffer } | undefined {
    for (;;) {
      this.#skipSpaces();
      const byte = this.#file[this.#at];
      if (byte === undefined) return undefined;
      if (byte === NEWLINE) this.#newline();
      else if (byte === HASH) this.#skipLine();
      else return { name: this.#name(), value: this.#value() };
    }
  }

  #name(): string {
    const end = this.#lineEnd();
    const equals = this.#file.subarray(this.#at, end).indexOf(EQUALS);
    const before = equals < 0 ? "" : this.#file.toString("latin1", this.#at, this.#at + Math.min(equals, 200));
    const name = /^(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)$/.exec(before)?.[1];
    if (name === undefined) return this.#fail("is not NAME=VALUE");
    const problem = envNameProblem(name);
    if (problem !== undefined) this.#fail(`has a variable "${name}", which ${problem}`);
    this.#at += equals + 1;
    return name;
  }

  #value(): Buffer {
    const quote = this.#file[this.#at];
    if (quote === SINGLE || quote === DOUBLE) return this.#quoted(quote);
    let end = this.#lineEnd();
    for (let at = this.#at; at < end; at++) {
      if (this.#file[at] === HASH && (at === this.#at || isSpace(this.#file[at - 1]))) end = at;
    }
    while (end > this.#at && isSpace(this.#file[end - 1])) end--;
    while (this.#at < end && isSpace(this.#file[this.#at])) this.#at++;
    const value = valueBuffer(end - this.#at);
    this.#file.copy(value, 0, this.#at, end);
    this.#skipLine();
    return value;
  }

  #quoted(quote: number): Buffer {
    const value = valueBuffer(this.#quotedSize(quote));
    let length = 0;
    for (this.#at++; ; this.#at++) {
      const byte = this.#file[this.#at] ?? 0;
      if (byte === quote) break;
      const escaped = quote === DOUBLE && byte === BACKSLASH ? ESCAPES.get(this.#file[this.#at + 1] ?? 0) : undefined;
      if (byte === NEWLINE) this.#line++;
      if (escaped !== undefined) this.#at++;
      value[length++] = escaped ?? byte;
    }
    this.#at++;
    this.#skipSpaces();
    const after = this.#file[this.#at];
    if (after !== undefined && after !== NEWLINE && after !== HASH) {
      value.fill(0);
      this.#fail("goes on after the closing quote");
    }
    this.#skipLine();
    return value.subarray(0, length);
  }

  /** Bytes to the closing quote, escapes counted as they stand. */
  #quotedSize(quote: number): number {
    for (let at = this.#at + 1; at < this.#file.length; at++) {
      if (this.#file[at] === quote) return at - this.#at - 1;
      if (quote === DOUBLE && this.#file[at] === BACKSLASH) at++;
    }
    return this.#fail("has a quote that does not end");
  }

  #lineEnd(): number {
    const end = this.#file.indexOf(NEWLINE, this.#at);
    return end < 0 ? this.#file.length : end;
  }

  #skipSpaces(): void {
    while (isSpace(this.#file[this.#at])) this.#at++;
  }

  #skipLine(): void {
    this.#at = this.#lineEnd();
    if (this.#at < this.#file.length) this.#newline();
  }

  #newline(): void {
    this.#at++;
    this.#line++;
  }

  #fail(problem: string): never {
    throw unreadable("env file", `line ${this.#line} ${problem}`);
  }
}

function isSpace(byte: number | undefined): boolean {
  return byte === SPACE || byte === TAB || byte === RETURN;
}
