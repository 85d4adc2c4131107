// How a session begins on a stream that has no beginning, such as a virtio-serial port: bytes of an earlier session may
// still be under way in either direction. The guest writes
//
//   NUL, 32 lower-case hex digits (a fresh nonce), "\n"
//
// and discards all that comes until exactly that has come back; then HTTP begins. A NUL occurs nowhere else in what a guest
// sends, so the host starts a session anew at each. This tells old bytes from new; it proves nobody's identity.
import type { Connection } from "./connection.ts";
import type { Sys } from "./sys.ts";
import { encodeUtf8, hex } from "./text.ts";

/** Throws "host-gone" when the echo has not come by `deadline`. */
export function resync(sys: Sys, connection: Connection, deadline: number): void {
  const nonce = new Uint8Array(16);
  sys.getrandom(nonce);
  const opening = encodeUtf8(`\0${hex(nonce)}\n`);
  connection.send(opening, deadline);
  const echo = new EchoFinder(opening);
  // One byte at a time: what follows the echo belongs to HTTP.
  const byte = new Uint8Array(1);
  do connection.receive(byte, deadline);
  while (!echo.push(byte[0] ?? 0));
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
