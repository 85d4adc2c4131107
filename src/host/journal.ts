// journald's socket, spoken to in its Native Journal Protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram for each
// entry, `FIELD=value` and a newline for each field.
import { statSync } from "node:fs";
import { HatchwayError } from "#error";
import { Datagrams } from "#host/datagram";
import { isErrno } from "#host/files";

export const JOURNAL_SOCKET = "/run/systemd/journal/socket";

const FIELD = /^[A-Z][A-Z0-9_]{0,63}$/;

export class Journal implements Disposable {
  readonly #datagrams: Datagrams;

  private constructor(datagrams: Datagrams) {
    this.#datagrams = datagrams;
  }

  /** Undefined where there is no journald. Throws HatchwayError "unsupported" if no socket can be made. */
  static open(path: string = JOURNAL_SOCKET): Journal | undefined {
    const datagrams = isSocket(path) ? Datagrams.to(path) : undefined;
    return datagrams && new Journal(datagrams);
  }

  /** Whether journald took the entry; it does not wait for one that is busy or gone. Values are of one line. */
  send(fields: Readonly<Record<string, string>>): boolean {
    return this.#datagrams.send(Buffer.from(encode(fields)));
  }

  [Symbol.dispose](): void {
    this.#datagrams[Symbol.dispose]();
  }
}

function encode(fields: Readonly<Record<string, string>>): string {
  return Object.entries(fields)
    .map(([field, value]) => {
      if (FIELD.test(field) && !value.includes("\n")) return `${field}=${value}\n`;
      throw new HatchwayError("internal", "internal error", { cause: new Error(`no field of the journal: ${field}`) });
    })
    .join("");
}

function isSocket(path: string): boolean {
  try {
    return statSync(path).isSocket();
  } catch (cause) {
    if (isErrno(cause, "ENOENT") || isErrno(cause, "ENOTDIR") || isErrno(cause, "EACCES")) return false;
    throw cause;
  }
}
