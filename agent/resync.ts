// How a session begins on a stream that has no beginning, such as a virtio-serial port: bytes of an earlier session may
// still be under way in either direction. The guest writes
//
//   NUL, 32 lower-case hex digits (a fresh nonce), "\n"
//
// and discards all that comes until exactly that has come back; then HTTP begins. A NUL occurs nowhere else in what a guest
// sends, so the host starts a session anew at each. This tells old bytes from new; it proves nobody's identity.
import { AgentError } from "./error.ts";
import type { Connection } from "./stream.ts";
import type { Sys } from "./sys.ts";
import { encodeUtf8, hex } from "./text.ts";

/** Throws "host-gone" when the echo has not come by `deadline`, "host-answer" when something follows it. */
export function resync(sys: Sys, connection: Connection, deadline: number): void {
  const nonce = new Uint8Array(16);
  sys.getrandom(nonce);
  const opening = encodeUtf8(`\0${hex(nonce)}\n`);
  connection.send(opening, deadline);
  const echo = new EchoFinder(opening);
  const chunk = new Uint8Array(4096);
  for (;;) {
    const received = connection.receive(chunk, deadline);
    const end = chunk.subarray(0, received).findIndex((byte) => echo.push(byte));
    if (end < 0) continue;
    // The host speaks when it is asked, so nothing can follow the echo yet.
    if (end + 1 < received) throw new AgentError("host-answer", "the host spoke before it was asked");
    return;
  }
}

/** Finds an opening in a stream. Its NUL is its first byte and occurs once, so a mismatch needs no backing up. */
export class EchoFinder {
  readonly #opening: Uint8Array;
  #matched = 0;

  constructor(opening: Uint8Array) {
    this.#opening = opening;
  }

  /** Whether this byte was the opening's last. */
  push(byte: number): boolean {
    if (byte === this.#opening[this.#matched]) this.#matched++;
    else this.#matched = byte === 0 ? 1 : 0;
    return this.#matched === this.#opening.length;
  }
}
