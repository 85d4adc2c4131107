import { randomFillSync } from "node:crypto";
import { valueBuffer } from "#value-buffer";

/** `length` characters, each drawn evenly from `alphabet`, which has 2 to 95 different printable ASCII characters. */
export function randomPassword(length: number, alphabet: string): Buffer {
  const password = valueBuffer(length);
  const pool = valueBuffer(256);
  // Bytes from here on would make some characters likelier than others.
  const limit = 256 - (256 % alphabet.length);
  let filled = 0;
  while (filled < length) {
    for (const byte of randomFillSync(pool)) {
      if (byte >= limit || filled === length) continue;
      password[filled++] = alphabet.charCodeAt(byte % alphabet.length);
    }
  }
  pool.fill(0);
  return password;
}

export function randomBytes(length: number): Buffer {
  return randomFillSync(valueBuffer(length));
}
