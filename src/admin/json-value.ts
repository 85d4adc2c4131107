// JSON bodies that may hold a value. A scanner over the bytes (RFC 8259) checks the whole form, refuses a key that is
// there twice in one object, and finds the top-level member `data`; its base64 is decoded from the bytes, and only what
// is around it becomes a string and is parsed. No string of a value ever exists.
import { decodeBase64 } from "#admin/base64";
import { HatchwayError } from "#error";

/** What a body says, without its value. */
export interface JsonBody {
  json: unknown;
  /** The decoded `data`, the caller's to wipe; undefined where the body has none. */
  value: Buffer | undefined;
}

const MAX_DEPTH = 8;

/**
 * Reads a JSON object. With `takesValue` its member `data` is taken as the value and is not in `json`. Keys at the top
 * that are not `known` are refused before anything is parsed. Throws HatchwayError "invalid" with an offset or a key,
 * and never with other content.
 */
export function readJson(body: Buffer, known: ReadonlySet<string>, takesValue: boolean): JsonBody {
  const scan = new Scan(body, known);
  scan.document();
  const data = takesValue ? scan.data : undefined;
  if (data === undefined) return { json: parse(text(body, 0, body.length)), value: undefined };
  if (body[data.start] !== QUOTE) throw new HatchwayError("invalid", "data is not a string");
  // The value's place is taken by null, so that the commas around it stand.
  const json = parse(`${text(body, 0, data.start)}null${text(body, data.end, body.length)}`) as object;
  Reflect.deleteProperty(json, "data");
  return { json, value: decodeBase64(body.subarray(data.start + 1, data.end - 1)) };
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SPACES = new Set([0x20, 0x09, 0x0a, 0x0d]);
const SCALAR = /^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/;
/** No scalar that means anything here is longer. */
const MAX_SCALAR = 32;

class Scan {
  /** Where the top-level member `data` has its value. */
  data: { start: number; end: number } | undefined;
  #at = 0;
  readonly #body: Buffer;
  readonly #known: ReadonlySet<string>;

  constructor(body: Buffer, known: ReadonlySet<string>) {
    this.#body = body;
    this.#known = known;
  }

  document(): void {
    if (this.#next() !== "{") throw new HatchwayError("invalid", "the request's body is not a JSON object");
    this.#object(0);
    if (this.#next() !== "") this.#fail("something follows the object");
  }

  #value(depth: number): void {
    const next = this.#next();
    if (depth > MAX_DEPTH) this.#fail(`nested deeper than ${MAX_DEPTH}`);
    if (next === "{") this.#object(depth);
    else if (next === "[") this.#array(depth);
    else if (next === '"') this.#string();
    else this.#scalar();
  }

  #object(depth: number): void {
    const keys = new Set<string>();
    this.#at++;
    if (this.#take("}")) return;
    do {
      if (this.#next() !== '"') this.#fail("a key is to be a string");
      const key = this.#key(keys);
      if (depth === 0 && !this.#known.has(key)) throw new HatchwayError("invalid", `unknown key ${quoted(key)}`);
      if (!this.#take(":")) this.#fail('":" is to follow a key');
      this.#next();
      const start = this.#at;
      this.#value(depth + 1);
      if (depth === 0 && key === "data") this.data = { start, end: this.#at };
    } while (this.#take(","));
    if (!this.#take("}")) this.#fail('"," or "}" is to follow a member');
  }

  #array(depth: number): void {
    this.#at++;
    if (this.#take("]")) return;
    do this.#value(depth + 1);
    while (this.#take(","));
    if (!this.#take("]")) this.#fail('"," or "]" is to follow an element');
  }

  #key(others: Set<string>): string {
    const start = this.#at;
    this.#string();
    if (this.#at - start > 256) this.#fail("a key is longer than 256 bytes");
    const key = parse(text(this.#body, start, this.#at)) as string;
    if (others.has(key)) throw new HatchwayError("invalid", `the key ${quoted(key)} is there twice`);
    others.add(key);
    return key;
  }

  /** Steps over a string; its escapes are checked by whoever decodes it. */
  #string(): void {
    for (let at = this.#at + 1; at < this.#body.length; at++) {
      const byte = this.#body[at] ?? 0;
      if (byte < 0x20) this.#fail("a string has a control character");
      if (byte === BACKSLASH) at++;
      if (byte !== QUOTE) continue;
      this.#at = at + 1;
      return;
    }
    this.#fail("a string does not end");
  }

  #scalar(): void {
    const start = this.#at;
    const word = this.#body.toString("latin1", start, start + MAX_SCALAR);
    const scalar = /^[a-zA-Z0-9.+-]*/.exec(word)?.[0] ?? "";
    if (!SCALAR.test(scalar)) this.#fail("a value is to be here");
    this.#at = start + scalar.length;
  }

  /** The next character that is not space; "" at the end. */
  #next(): string {
    while (SPACES.has(this.#body[this.#at] ?? 0)) this.#at++;
    const byte = this.#body[this.#at];
    return byte === undefined ? "" : String.fromCharCode(byte);
  }

  #take(char: string): boolean {
    if (this.#next() !== char) return false;
    this.#at++;
    return true;
  }

  #fail(problem: string): never {
    throw new HatchwayError("invalid", `the request's body is not JSON: at byte ${this.#at} ${problem}`);
  }
}

/** What a client sent, for a message: in quotes, without control characters, capped. */
export function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 100));
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function text(body: Buffer, start: number, end: number): string {
  try {
    return utf8.decode(body.subarray(start, end));
  } catch (cause) {
    throw new HatchwayError("invalid", "the request's body is not UTF-8", { cause });
  }
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    // The engine's error quotes what it read, so it is not kept as the cause: a value in the wrong place would show.
    throw new HatchwayError("invalid", "the request's body is not JSON: a string has a bad escape");
  }
}
