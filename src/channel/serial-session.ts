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
  let session: SerialStream | undefined;
  let opening: Buffer | undefined;

  const end = (): void => {
    session?.push(null);
    session?.destroy();
    session = undefined;
  };

  const take = (bytes: Buffer): void => {
    if (!session || bytes.length === 0) return;
    if (session.readableLength + bytes.length > MAX_UNREAD) end();
    else session.push(bytes);
  };

  port.on("data", (chunk: Buffer) => {
    for (let rest = chunk; rest.length > 0;) {
      if (opening) {
        const part = rest.subarray(0, OPENING_SIZE - opening.length);
        // A NUL inside an opening begins another one; of several it is the last that can come to something.
        const nul = part.lastIndexOf(0);
        if (nul >= 0) {
          opening = NUL;
          rest = rest.subarray(nul + 1);
          continue;
        }
        opening = Buffer.concat([opening, part]);
        rest = rest.subarray(part.length);
        if (opening.length < OPENING_SIZE) continue;
        if (OPENING.test(opening.toString("latin1"))) {
          session = new SerialStream(port);
          send(port, opening);
          open(session);
        }
        opening = undefined;
        continue;
      }
      const nul = rest.indexOf(0);
      take(Buffer.from(nul < 0 ? rest : rest.subarray(0, nul)));
      if (nul < 0) return;
      end();
      opening = NUL;
      rest = rest.subarray(nul + 1);
    }
  });
  port.once("close", end);
}
