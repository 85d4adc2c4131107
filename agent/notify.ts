// sd_notify(3): one datagram to the socket that NOTIFY_SOCKET names.
import { SysError, type Sys } from "./sys.ts";
import { decodeUtf8, encodeUtf8, printable } from "./text.ts";

/** The value of a variable that is not a secret. */
export function variable(sys: Sys, name: string): string | undefined {
  const found = sys
    .environment()
    .map(decodeUtf8)
    .find((line) => line.startsWith(`${name}=`));
  return found?.slice(name.length + 1);
}

export class Notifier {
  readonly #sys: Sys;
  readonly #socket: string | undefined;
  readonly #log: (line: string) => void;

  constructor(sys: Sys, log: (line: string) => void) {
    this.#sys = sys;
    this.#log = log;
    this.#socket = variable(sys, "NOTIFY_SOCKET");
  }

  ready(): void {
    this.#send("READY=1");
  }

  stopping(): void {
    this.#send("STOPPING=1");
  }

  status(text: string): void {
    this.#send(`STATUS=${printable(text, 200)}`);
  }

  #send(message: string): void {
    if (this.#socket === undefined || this.#socket === "") return;
    try {
      this.#sys.datagram(this.#socket, encodeUtf8(message));
    } catch (error) {
      // Whether its supervisor listens must not keep an agent from its work.
      if (!(error instanceof SysError)) throw error;
      this.#log(`cannot notify the service manager: ${error.message}`);
    }
  }
}
