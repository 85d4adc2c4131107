// JSON (RFC 8259) that holds values: scanned as bytes, and a string in it is decoded only when it is asked for, into
// text where it is a name and into a buffer where it is a value.
import { valueBuffer } from "#value-buffer";
import { unreadable } from "./imported.ts";

export type Json =
  /** What stands between the quotes: a part of the file. */
  | { kind: "string"; raw: Buffer }
  | { kind: "object"; members: ReadonlyMap<string, Json> }
  | { kind: "array"; elements: readonly Json[] }
  | { kind: "scalar"; text: string };

const MAX_DEPTH = 32;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SPACES = new Set([0x20, 0x09, 0x0a, 0x0d]);
const SCALAR = /^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/;
const SIMPLE = new Map('"\\/bfnrt'.split("").map((letter, at) => [letter, '"\\/\b\f\n\r\t'.charCodeAt(at)]));

/** Throws HatchwayError "invalid" with an offset and never with content. */
export function parseJsonBytes(file: Buffer): Json {
  const reader = new Reader(file);
  return reader.document();
}

/** A string's text; undefined for anything else. */
export function textOf(json: Json | undefined): string | undefined {
  if (json?.kind !== "string") return undefined;
  const bytes = bytesOf(json);
  return bytes?.toString("utf8");
}

/** A string's bytes (UTF-8), for the caller to wipe; undefined for anything else. */
export function bytesOf(json: Json | undefined): Buffer | undefined {
  if (json?.kind !== "string") return undefined;
  const { raw } = json;
  // No escape is shorter than what it stands for.
  const bytes = valueBuffer(raw.length);
  let length = 0;
  for (let at = 0; at < raw.length;) {
    if (raw[at] !== BACKSLASH) bytes[length++] = raw[at++] ?? 0;
    else {
      const { code, size } = escapeAt(raw, at);
      length += putUtf8(bytes, length, code);
      at += size;
    }
  }
  return bytes.subarray(0, length);
}

export function member(json: Json | undefined, key: string): Json | undefined {
  return json?.kind === "object" ? json.members.get(key) : undefined;
}

export function elements(json: Json | undefined): readonly Json[] {
  return json?.kind === "array" ? json.elements : [];
}

/** Written byte by byte, since a string of it would stay. */
function putUtf8(bytes: Buffer, at: number, code: number): number {
  if (code < 0x80) {
    bytes[at] = code;
    return 1;
  }
  const more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  bytes[at] = ([0, 0xc0, 0xe0, 0xf0][more] ?? 0) | (code >> (6 * more));
  for (let left = more - 1; left >= 0; left--) bytes[at + more - left] = 0x80 | ((code >> (6 * left)) & 0x3f);
  return more + 1;
}

function escapeAt(raw: Buffer, at: number): { code: number; size: number } {
  const simple = SIMPLE.get(String.fromCharCode(raw[at + 1] ?? 0));
  if (simple !== undefined) return { code: simple, size: 2 };
  const unit = unitAt(raw, at);
  if (unit < 0xd800 || unit > 0xdfff) return { code: unit, size: 6 };
  const low = raw[at + 6] === BACKSLASH ? unitAt(raw, at + 6) : 0;
  if (unit > 0xdbff || low < 0xdc00 || low > 0xdfff) throw unreadable("JSON", "a string has half a surrogate pair");
  return { code: 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), size: 12 };
}

/** The code unit of `\uXXXX`. */
function unitAt(raw: Buffer, at: number): number {
  const digits = raw.toString("latin1", at + 2, at + 6);
  if (raw[at + 1] === 0x75 && /^[0-9a-fA-F]{4}$/.test(digits)) return Number.parseInt(digits, 16);
  throw unreadable("JSON", "a string has a bad escape");
}

class Reader {
  readonly #file: Buffer;
  #at: number;

  constructor(file: Buffer) {
    this.#file = file;
    this.#at = file.subarray(0, 3).equals(Buffer.from([0xef, 0xbb, 0xbf])) ? 3 : 0;
  }

  document(): Json {
    const json = this.#value(0);
    if (this.#next() !== "") this.#fail("something follows it");
    return json;
  }

  #value(depth: number): Json {
    if (depth > MAX_DEPTH) this.#fail(`it is nested deeper than ${MAX_DEPTH}`);
    const next = this.#next();
    if (next === "{") return this.#object(depth);
    if (next === "[") return this.#array(depth);
    return next === '"' ? this.#string() : this.#scalar();
  }

  #object(depth: number): Json {
    const members = new Map<string, Json>();
    this.#at++;
    if (this.#take("}")) return { kind: "object", members };
    do {
      if (this.#next() !== '"') this.#fail("a key is to be a string");
      const key = textOf(this.#string()) ?? "";
      if (members.has(key)) this.#fail("a key is there twice");
      if (!this.#take(":")) this.#fail('":" is to follow a key');
      members.set(key, this.#value(depth + 1));
    } while (this.#take(","));
    if (!this.#take("}")) this.#fail('"," or "}" is to follow a member');
    return { kind: "object", members };
  }

  #array(depth: number): Json {
    const all: Json[] = [];
    this.#at++;
    if (this.#take("]")) return { kind: "array", elements: all };
    do all.push(this.#value(depth + 1));
    while (this.#take(","));
    if (!this.#take("]")) this.#fail('"," or "]" is to follow an element');
    return { kind: "array", elements: all };
  }

  #string(): Json {
    const start = this.#at + 1;
    for (let at = start; at < this.#file.length; at++) {
      const byte = this.#file[at] ?? 0;
      if (byte < 0x20) break;
      if (byte === BACKSLASH) at++;
      if (byte !== QUOTE) continue;
      this.#at = at + 1;
      return { kind: "string", raw: this.#file.subarray(start, at) };
    }
    return this.#fail("a string does not end, or has a control character");
  }

  #scalar(): Json {
    const word = /^[a-zA-Z0-9.+-]*/.exec(this.#file.toString("latin1", this.#at, this.#at + 64))?.[0] ?? "";
    if (!SCALAR.test(word)) this.#fail("a value is to be here");
    this.#at += word.length;
    return { kind: "scalar", text: word };
  }

  /** The next character that is not space; "" at the end. */
  #next(): string {
    while (SPACES.has(this.#file[this.#at] ?? 0)) this.#at++;
    const byte = this.#file[this.#at];
    return byte === undefined ? "" : String.fromCharCode(byte);
  }

  #take(character: string): boolean {
    if (this.#next() !== character) return false;
    this.#at++;
    return true;
  }

  #fail(problem: string): never {
    throw unreadable("JSON", `at byte ${this.#at} ${problem}`);
  }
}
