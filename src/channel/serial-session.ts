// What makes sessions out of virtio-serial's one endless stream of bytes. The device has no connections: after either
// end restarts, rests of the old conversation are still under way. So the guest opens a session with
//
//   NUL | nonce, 32 lower-case hex | LF
//
// and reads on, throwing away, until the same 34 bytes come back. No request holds a NUL byte, so one always means that
// a new session begins, whatever was being said. The nonce tells rests of old answers apart; it authenticates nobody.
import type { Socket } from "node:net";
import { Duplex } from "node:stream";

const OPENING_SIZE = 34;
const NUL = Buffer.alloc(1);
const OPENING = /^\0[0-9a-f]{32}\n$/;
/** Bytes that a session may leave unread; a guest sends one small request and waits, so more is not a conversation. */
const MAX_UNREAD = 65_536;

/** Writes, and listens no more until it is out: a guest that does not read cannot ask for more to be queued. */
function send(port: Socket, bytes: Buffer, done?: (error?: Error | null) => void): void {
  if (port.write(bytes, done) || port.isPaused()) return;
  port.pause();
  port.once("drain", () => port.resume());
}

/** One session, as a stream that an http.Server can serve. Ending it leaves the port open. */
class SerialStream extends Duplex {
  readonly #port: Socket;

  constructor(port: Socket) {
    super();
    this.#port = port;
  }

  override _read(): void {
    // Bytes are pushed as they come.
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    send(this.#port, chunk, done);
  }
}

/** Splits what comes in on `port` into sessions, one at a time, and gives each to `open`. */
export function serveSessions(port: Socket, open: (stream: Duplex) => void): void {
  const sessions = new Sessions(port, open);
  port.on("data", (chunk: Buffer) => sessions.take(chunk));
  port.once("close", () => sessions.end());
}

class Sessions {
  readonly #port: Socket;
  readonly #open: (stream: Duplex) => void;
  #session: SerialStream | undefined;
  /** What has come of an opening, its NUL first; undefined outside of one. */
  #opening: Buffer | undefined;

  constructor(port: Socket, open: (stream: Duplex) => void) {
    this.#port = port;
    this.#open = open;
  }

  take(chunk: Buffer): void {
    for (let rest = chunk; rest.length > 0;) {
      // What came in one chunk with what filled the port waits as well, in front of all that is still to come.
      if (this.#port.isPaused()) return this.#port.unshift(rest);
      rest = this.#opening ? this.#takeOpening(this.#opening, rest) : this.#takeContent(rest);
    }
  }

  end(): void {
    this.#session?.push(null);
    this.#session?.destroy();
    this.#session = undefined;
  }

  /** What `rest` has of the opening is added to `before`; gives what is left. */
  #takeOpening(before: Buffer, rest: Buffer): Buffer {
    const part = rest.subarray(0, OPENING_SIZE - before.length);
    // A NUL inside an opening begins another one; of several it is the last that can come to something.
    const nul = part.lastIndexOf(0);
    if (nul >= 0) {
      this.#opening = NUL;
      return rest.subarray(nul + 1);
    }
    const opening = Buffer.concat([before, part]);
    this.#opening = opening.length < OPENING_SIZE ? opening : undefined;
    if (opening.length === OPENING_SIZE && OPENING.test(opening.toString("latin1"))) this.#begin(opening);
    return rest.subarray(part.length);
  }

  #begin(opening: Buffer): void {
    this.#session = new SerialStream(this.#port);
    send(this.#port, opening);
    this.#open(this.#session);
  }

  /** What the session is told, up to the NUL that ends it; gives what is left. */
  #takeContent(rest: Buffer): Buffer {
    const nul = rest.indexOf(0);
    this.#tell(Buffer.from(nul < 0 ? rest : rest.subarray(0, nul)));
    if (nul < 0) return rest.subarray(rest.length);
    this.end();
    this.#opening = NUL;
    return rest.subarray(nul + 1);
  }

  #tell(bytes: Buffer): void {
    if (!this.#session || bytes.length === 0) return;
    if (this.#session.readableLength + bytes.length > MAX_UNREAD) this.end();
    else this.#session.push(bytes);
  }
}
