// Request bodies as bytes. A body may hold a value, so it is read into one buffer that is wiped, each chunk is wiped
// once it is copied, and nothing turns it into a string before the value is out of it.
import type { IncomingMessage } from "node:http";
import { HatchwayError } from "#error";
import { valueBuffer } from "#value-buffer";

/** The bytes of a request's body. Disposing wipes them. */
export class Body {
  readonly bytes: Buffer;
  readonly #whole: Buffer;

  constructor(whole: Buffer, length: number) {
    this.#whole = whole;
    this.bytes = whole.subarray(0, length);
  }

  [Symbol.dispose](): void {
    this.#whole.fill(0);
  }
}

const FIRST_ROOM = 4096;
/**
 * What is read beyond the limit, and dropped, before the refusal: a client that is still sending when the answer comes
 * and the connection closes sees a broken pipe in place of the answer.
 */
const SPILL = 8_388_608;

/**
 * Reads the body, at most `limit` bytes of it; more is "too-large", by what Content-Length says or by what comes. A
 * connection that ends before the body does is "invalid"; what had come is wiped then.
 */
export async function readBody(incoming: IncomingMessage, limit: number): Promise<Body> {
  const told = Number(incoming.headers["content-length"] ?? Number.NaN);
  if (told > limit + SPILL) throw tooLarge(limit);
  let room: Buffer = valueBuffer(Number.isNaN(told) ? FIRST_ROOM : Math.min(told, limit));
  let length = 0;
  let ended = false;
  try {
    await new Promise<void>((resolve, reject) => {
      const cut = (cause?: Error): void => {
        // It closes after its end as well, and an error takes as long to make as all the rest here.
        if (!ended) reject(new HatchwayError("invalid", "the request ended before its body did", { cause }));
      };
      const take = (chunk: Buffer): void => {
        if (length + chunk.length <= limit) {
          room = withRoom(room, length, length + chunk.length, limit);
          chunk.copy(room, length);
        }
        length += chunk.length;
        chunk.fill(0);
        if (length > limit + SPILL) reject(tooLarge(limit));
      };
      const end = (): void => {
        ended = true;
        if (length > limit) reject(tooLarge(limit));
        else resolve();
      };
      incoming.on("data", take).once("end", end).once("error", cut).once("close", cut);
      if (incoming.destroyed) cut();
    });
  } catch (thrown) {
    room.fill(0);
    throw thrown;
  }
  return new Body(room, length);
}

/** `room`, or a larger one that `room` was moved to, so that `needed` bytes fit. */
function withRoom(room: Buffer, used: number, needed: number, limit: number): Buffer {
  if (needed <= room.length) return room;
  const larger = valueBuffer(Math.min(limit, Math.max(needed, 2 * room.length)));
  room.copy(larger, 0, 0, used);
  room.fill(0);
  return larger;
}

function tooLarge(limit: number): HatchwayError {
  return new HatchwayError("too-large", `the request's body has more than ${limit} bytes`);
}
