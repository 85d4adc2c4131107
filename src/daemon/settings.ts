// A YAML file read with its lines: whatever is refused is named by its key and line. Nothing is taken for another type
// than it was written as.
import { isMap, isScalar, isSeq, LineCounter, parseDocument, type Node } from "yaml";
import { HatchwayError } from "#error";
import { nearest } from "#nearest";

interface Source {
  path: string;
  lines: LineCounter;
}

/** One value of the file, and where it stands. All that read it throw HatchwayError "invalid". */
export class Setting {
  /** Its keys from the top, joined by dots; a list's elements count from 1. */
  readonly name: string;
  readonly #node: Node | null;
  readonly #offset: number;
  readonly #source: Source;

  private constructor(name: string, node: Node | null, offset: number, source: Source) {
    this.name = name;
    this.#node = node;
    this.#offset = offset;
    this.#source = source;
  }

  /** The file as a whole; undefined where nothing is in it. */
  static parse(path: string, text: string): Setting | undefined {
    const source = { path, lines: new LineCounter() };
    const document = parseDocument(text, { lineCounter: source.lines });
    const root = new Setting("", document.contents, 0, source);
    const [error] = document.errors;
    if (error) throw root.#wrongAt(error.pos[0], error.code.toLowerCase().replaceAll("_", " "));
    const { contents } = document;
    return contents === null || (isScalar(contents) && contents.value === null) ? undefined : root;
  }

  /** An error that says where. */
  wrong(problem: string): HatchwayError {
    return this.#wrongAt(this.#offset, `${this.name} ${problem}`.trim());
  }

  /** The members of a mapping whose keys are all `known`. */
  fields<Key extends string>(...known: readonly Key[]): Partial<Record<Key, Setting>> {
    const fields: Partial<Record<Key, Setting>> = {};
    for (const [key, setting] of this.entries()) {
      const found = known.find((one) => one === key);
      if (found === undefined) {
        const meant = nearest(key.slice(0, 80), known);
        throw this.#wrongAt(
          setting.#offset,
          `unknown key "${key}"; known: ${known.join(", ")}`,
          meant && `did you mean ${meant}`,
        );
      }
      fields[found] = setting;
    }
    return fields;
  }

  /** The members of a mapping whose keys are names, in their order. */
  entries(): [key: string, value: Setting][] {
    if (!isMap(this.#node)) throw this.wrong(this.name === "" ? "not a mapping of keys to values" : "is not a mapping");
    return this.#node.items.map(({ key, value }) => {
      const name = isScalar(key) ? String(key.value) : "?";
      const offset = isScalar(key) ? (key.range?.[0] ?? 0) : 0;
      const path = this.name === "" ? name : `${this.name}.${name}`;
      return [name, new Setting(path, value as Node | null, offset, this.#source)];
    });
  }

  list(): Setting[] {
    if (!isSeq(this.#node)) throw this.wrong("is not a list");
    return this.#node.items.map((item, at) => {
      const node = item as Node;
      return new Setting(`${this.name}.${at + 1}`, node, node.range?.[0] ?? this.#offset, this.#source);
    });
  }

  word<Word extends string>(...words: readonly Word[]): Word {
    const found = words.find((word) => word === this.#scalar);
    if (found !== undefined) return found;
    throw this.wrong(`is ${words.map((word) => `"${word}"`).join(" or ")}`);
  }

  /** A string without a problem; `problemOf` words what follows the quoted text. */
  text(problemOf: (text: string) => string | undefined = () => undefined): string {
    const text = this.#scalar;
    if (typeof text !== "string") throw this.wrong("is not a string");
    const problem = problemOf(text);
    if (problem !== undefined) throw this.wrong(`${JSON.stringify(text.slice(0, 160))} ${problem}`);
    return text;
  }

  integer(least: number, most: number): number {
    const number = this.#scalar;
    if (Number.isInteger(number) && (number as number) >= least && (number as number) <= most) return number as number;
    throw this.wrong(`is not an integer from ${least} to ${most}`);
  }

  get isText(): boolean {
    return typeof this.#scalar === "string";
  }

  get isNumber(): boolean {
    return typeof this.#scalar === "number";
  }

  get #scalar(): unknown {
    return isScalar(this.#node) ? this.#node.value : undefined;
  }

  #wrongAt(offset: number, problem: string, hint?: string): HatchwayError {
    const { path, lines } = this.#source;
    const text = `"${path}", line ${lines.linePos(offset).line}: ${problem}`;
    return new HatchwayError("invalid", text, hint === undefined ? {} : { hint });
  }
}
