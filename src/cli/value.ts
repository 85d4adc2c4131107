// Where a secret's value comes from: exactly one source, read verbatim into one buffer.
import { closeSync, openSync, readSync } from "node:fs";
import type { Readable } from "node:stream";
import { HatchwayError } from "#error";
import { MAX_VALUE_SIZE } from "#protocol/names";
import { takeChunks } from "./chunks.ts";
import { promptTwice } from "./prompt.ts";
import type { Session } from "./session.ts";

export interface ValueFlags {
  fromLiteral?: string;
  fromFile?: string;
  valueFile?: string;
  fromStdin?: true;
  allowEmpty?: true;
}

export type Source = { kind: "literal"; text: string } | { kind: "file"; path: string } | { kind: "stdin" };

/** A value that is wiped when its scope ends. */
export interface SecretValue extends Disposable {
  readonly bytes: Buffer;
}

/** The source that the flags name; undefined when they name none. Throws "invalid" for two. */
export function chosenSource(flags: ValueFlags): Source | undefined {
  const sources: [flag: string, source: Source][] = [];
  if (flags.fromLiteral !== undefined) sources.push(["--from-literal", { kind: "literal", text: flags.fromLiteral }]);
  if (flags.fromFile !== undefined) sources.push(["--from-file", fileSource(flags.fromFile)]);
  if (flags.valueFile !== undefined) sources.push(["--value-file", fileSource(flags.valueFile)]);
  if (flags.fromStdin === true) sources.push(["--from-stdin", { kind: "stdin" }]);
  if (sources.length > 1) {
    const flagNames = sources.map(([flag]) => flag).join(" and ");
    throw new HatchwayError("invalid", `${flagNames} both name a value: a secret has one`);
  }
  return sources[0]?.[1];
}

function fileSource(path: string): Source {
  return path === "-" ? { kind: "stdin" } : { kind: "file", path };
}

/**
 * Reads the value for the secret `name`; without flags from a hidden prompt where stdin is a terminal. Throws "invalid"
 * when it is empty and that was not allowed, "too-large" beyond 1 MiB, of which no more than one byte was read.
 */
export async function readValue(
  session: Session,
  name: string,
  source: Source,
  flags: ValueFlags,
): Promise<SecretValue> {
  const bytes = await readSource(session, name, source);
  if (bytes.length > MAX_VALUE_SIZE) {
    bytes.fill(0);
    throw new HatchwayError("too-large", `the value for "${name}" is larger than 1 MiB, the most that a secret holds`);
  }
  if (bytes.length === 0 && flags.allowEmpty !== true) {
    throw new HatchwayError("invalid", `the value for "${name}" is empty`, {
      hint: "if that is meant, pass --allow-empty",
    });
  }
  return { bytes, [Symbol.dispose]: () => void bytes.fill(0) };
}

async function readSource(session: Session, name: string, source: Source): Promise<Buffer> {
  switch (source.kind) {
    case "literal":
      session.warn("a value on the command line can be seen by other users of this host, and stays in the history");
      return Buffer.from(source.text);
    case "file":
      return readFile(source.path);
    case "stdin":
      if (session.terminal.stdin.isTTY === true) return promptTwice(session.terminal, name);
      return readStream(session.terminal.stdin);
  }
}

/** Everything up to one byte too many. */
export async function readStream(stream: Readable): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(MAX_VALUE_SIZE + 1);
  let length = 0;
  try {
    await takeChunks(stream, (chunk) => {
      length += chunk.copy(bytes, length);
      return length === bytes.length ? "done" : "more";
    });
  } catch (cause) {
    bytes.fill(0);
    throw fileError("stdin", cause as NodeJS.ErrnoException);
  }
  return bytes.subarray(0, length);
}

/**
 * The same of a path, which may also be a pipe (`<(command)`): everything up to one byte more than `limit`, for the
 * caller to wipe. Synchronous, since nothing else goes on meanwhile.
 */
export function readFile(path: string, limit: number = MAX_VALUE_SIZE): Buffer {
  const bytes = Buffer.allocUnsafeSlow(limit + 1);
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    let length = 0;
    while (length < bytes.length) {
      const count = readSync(file, bytes, length, bytes.length - length, null);
      if (count === 0) break;
      length += count;
    }
    return bytes.subarray(0, length);
  } catch (cause) {
    bytes.fill(0);
    throw fileError(path, cause as NodeJS.ErrnoException);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function fileError(path: string, cause: NodeJS.ErrnoException): HatchwayError {
  switch (cause.code ?? "") {
    case "ENOENT":
      return new HatchwayError("invalid", `there is no file "${path}"`, { cause });
    case "EISDIR":
      return new HatchwayError("invalid", `"${path}" is a folder, not a file`, { cause });
    case "EACCES":
    case "EPERM":
      return new HatchwayError("forbidden", `this user may not read "${path}"`, { cause });
    default:
      return new HatchwayError("invalid", `cannot read "${path}": ${cause.code ?? cause.message}`, { cause });
  }
}
