// A strict JSON reader (RFC 8259) for bytes that cross the wall. JSON.parse keeps the last of two equal keys, and two
// parsers that keep different ones disagree on what was said; here a duplicate key is refused, and so are non-ASCII
// bytes, keys that are not printable, nesting beyond 8, numbers that are not integers, and anything after the value.
import { ProtocolError } from "./error.ts";

export type Json = null | boolean | number | string | Json[] | JsonObject;
/** An object without a prototype, so that "__proto__" is a key like any other. */
export interface JsonObject {
  [key: string]: Json;
}

const MAX_DEPTH = 8;
const PRINTABLE = /^[\u0020-\u007e]*$/;
const NOT_ASCII = /[^\n\u0020-\u007e]/;
const ESCAPE = /^(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})/;

/** Decodes ASCII bytes; anything else is refused with its offset. */
export function ascii(bytes: Uint8Array, what: string): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 4096) {
    const part = textOf(bytes.subarray(at, at + 4096));
    const bad = part.search(NOT_ASCII);
    if (bad >= 0) throw new ProtocolError(`${what}: byte ${at + bad} is not printable ascii`);
    parts.push(part);
  }
  return parts.join("");
}

/** A character for each of a few thousand bytes, made in one call: the agent's engine is slow at each by itself. */
export function textOf(bytes: Uint8Array): string {
  return Reflect.apply(String.fromCharCode, undefined, bytes);
}

/** Encodes a string that holds only ASCII. */
export function asciiBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 0x7e) throw new ProtocolError(`character ${at} is not ascii`);
    bytes[at] = code;
  }
  return bytes;
}

export function parseJson(bytes: Uint8Array, what: string): Json {
  const reader = new JsonReader(ascii(bytes, what), what);
  const value = reader.value(0);
  reader.end();
  return value;
}

class JsonReader {
  #at = 0;
  readonly #text: string;
  readonly #what: string;

  constructor(text: string, what: string) {
    this.#text = text;
    this.#what = what;
  }

  /** Reads one value that lies in `depth` arrays and objects. */
  value(depth: number): Json {
    const next = this.#peek();
    if ((next === "{" || next === "[") && depth === MAX_DEPTH) this.#fail(`nested deeper than ${MAX_DEPTH}`);
    if (next === "{") return this.#object(depth);
    if (next === "[") return this.#array(depth);
    if (next === '"') return this.#string();
    if (this.#take("true")) return true;
    if (this.#take("false")) return false;
    if (this.#take("null")) return null;
    return this.#integer();
  }

  end(): void {
    if (this.#peek() !== "") this.#fail("something follows the value");
  }

  #object(depth: number): JsonObject {
    const object = Object.create(null) as JsonObject;
    this.#at++;
    if (this.#takeChar("}")) return object;
    do {
      if (this.#peek() !== '"') this.#fail("a key must be a string");
      const key = this.#string();
      // Keys are quoted in messages; an escaped control character would reach a terminal or a log from there.
      if (!PRINTABLE.test(key)) this.#fail("a key must be printable ascii");
      if (key in object) this.#fail(`duplicate key "${key.slice(0, 40)}"`);
      if (!this.#takeChar(":")) this.#fail('expected ":"');
      object[key] = this.value(depth + 1);
    } while (this.#takeChar(","));
    if (!this.#takeChar("}")) this.#fail('expected "," or "}"');
    return object;
  }

  #array(depth: number): Json[] {
    const array: Json[] = [];
    this.#at++;
    if (this.#takeChar("]")) return array;
    do array.push(this.value(depth + 1));
    while (this.#takeChar(","));
    if (!this.#takeChar("]")) this.#fail('expected "," or "]"');
    return array;
  }

  /** Escapes are checked here, so that JSON.parse never throws: its messages quote what it was given. */
  #string(): string {
    const start = this.#at;
    for (let at = start + 1; at < this.#text.length; at++) {
      const char = this.#text[at];
      if (char === "\n") break;
      if (char === "\\") {
        at++;
        if (!ESCAPE.test(this.#text.slice(at, at + 5))) this.#fail("bad escape in a string");
      }
      if (char !== '"') continue;
      this.#at = at + 1;
      return JSON.parse(this.#text.slice(start, this.#at)) as string;
    }
    return this.#fail("a string does not end");
  }

  #integer(): number {
    const match = /^-?(?:0|[1-9][0-9]{0,15})(?![0-9.eE])/.exec(this.#text.slice(this.#at, this.#at + 18));
    if (!match) return this.#fail("expected a value (numbers are integers)");
    this.#at += match[0].length;
    return Number(match[0]);
  }

  #peek(): string {
    while (this.#text[this.#at] === " " || this.#text[this.#at] === "\n") this.#at++;
    return this.#text[this.#at] ?? "";
  }

  #takeChar(char: string): boolean {
    if (this.#peek() !== char) return false;
    this.#at++;
    return true;
  }

  #take(word: string): boolean {
    if (!this.#text.startsWith(word, this.#at)) return false;
    this.#at += word.length;
    return true;
  }

  #fail(problem: string): never {
    throw new ProtocolError(`${this.#what}: offset ${this.#at}: ${problem}`);
  }
}
