import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  type Stats,
  unlinkSync,
  writeSync,
} from "node:fs";
import { HatchwayError } from "#error";
import { isInMemory } from "#host/in-memory";
import { valueBuffer } from "#value-buffer";
import { plural } from "./quantity.ts";

/** A descriptor that whoever started this process has left open for it, proc(5). */
const DESCRIPTOR = /^\/(?:dev|proc\/self)\/fd\/([0-9]{1,4})$/;

/** A new file, 0600, or an open descriptor such as `/dev/fd/3`; whoever opened it finishes or abandons it. */
export class NewFile {
  readonly path: string;
  /** Whether nothing of it is on a disk. Memory may still be swapped out. */
  readonly inMemory: boolean;
  readonly #fd: number;
  /** By us; a descriptor that was open already stays so. */
  readonly #made: boolean;
  #isOpen = true;
  #size = 0;

  /** Throws HatchwayError "exists" where there is a file, "invalid" for what cannot be written. */
  constructor(path: string) {
    this.path = path;
    const [, number] = DESCRIPTOR.exec(path) ?? [];
    this.#made = number === undefined;
    this.#fd = number === undefined ? create(path) : Number(number);
    try {
      checkPrivate(path, fstatSync(this.#fd));
      this.inMemory = isInMemory(`/proc/self/fd/${this.#fd}`);
    } catch (cause) {
      this.abandon();
      throw problem(path, cause);
    }
  }

  get size(): number {
    return this.#size;
  }

  write(bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(this.#fd, bytes, at);
    } catch (cause) {
      throw problem(this.path, cause);
    }
    this.#size += bytes.length;
  }

  /** Once this has returned, it outlives a power loss, where a disk is what it is on. */
  finish(): void {
    try {
      fsyncSync(this.#fd);
    } catch (cause) {
      throw problem(this.path, cause);
    }
    this.#close();
  }

  /** Takes back the file, if it was made here. */
  abandon(): void {
    this.#close();
    if (this.#made) unlinkSync(this.path);
  }

  #close(): void {
    if (this.#made && this.#isOpen) closeSync(this.#fd);
    this.#isOpen = false;
  }
}

/**
 * What is in a file that nobody else can read, for the caller to wipe; undefined where there is none. Throws HatchwayError
 * "invalid".
 */
export function readPrivateFile(path: string, most: number): Buffer | undefined {
  // One that is open already is there to be written.
  if (DESCRIPTOR.test(path)) return undefined;
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw problem(path, cause, "read");
  }
  try {
    const stat = fstatSync(fd);
    checkPrivate(path, stat);
    if (stat.size > most) throw new HatchwayError("invalid", `"${path}" has more than ${most} bytes`);
    const content = valueBuffer(stat.size);
    return content.subarray(0, readSync(fd, content));
  } catch (cause) {
    throw problem(path, cause, "read");
  } finally {
    closeSync(fd);
  }
}

/** What has no name, as a memfd has none, is reached by nobody, whatever its mode. */
function checkPrivate(path: string, stat: Stats): void {
  if (!stat.isFile()) throw new HatchwayError("invalid", `"${path}" is not a regular file`);
  if (stat.nlink === 0 || (stat.mode & 0o077) === 0) return;
  const mode = (stat.mode & 0o777).toString(8).padStart(4, "0");
  throw new HatchwayError("invalid", `"${path}" is open to others: its mode is ${mode}`, {
    hint: "make it with: umask 077",
  });
}

function create(path: string): number {
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  try {
    return openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  } catch (cause) {
    throw problem(path, cause);
  }
}

function problem(path: string, cause: unknown, what = "write"): HatchwayError {
  if (cause instanceof HatchwayError) return cause;
  const { code = "unknown" } = cause as NodeJS.ErrnoException;
  if (code === "EEXIST") return new HatchwayError("exists", `there is a file "${path}" already`, { cause });
  return new HatchwayError("invalid", `cannot ${what} "${path}": ${code}`, { cause });
}

/** For people. */
export function describeSize(file: NewFile): string {
  return `${plural(file.size, "byte")}, ${file.inMemory ? "in memory" : "on a disk"}`;
}
