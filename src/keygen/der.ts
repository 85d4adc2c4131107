// DER (ITU-T X.690) as far as a certificate needs it: each function answers one whole element, tag and length included.

export function element(tag: number, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag, ...lengthOf(body.length)]), body]);
}

/** One byte to 127, else the count of bytes and the bytes. */
function lengthOf(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
}

export const sequence = (...content: Buffer[]): Buffer => element(0x30, ...content);
export const set = (...content: Buffer[]): Buffer => element(0x31, ...content);
export const octets = (content: Buffer): Buffer => element(0x04, content);
export const bits = (content: Buffer): Buffer => element(0x03, Buffer.from([0]), content);
export const utf8 = (text: string): Buffer => element(0x0c, Buffer.from(text));
export const truth: Buffer = element(0x01, Buffer.from([0xff]));

/** A positive INTEGER of big-endian `bytes`, the first of them not zero. */
export function positive(bytes: Buffer): Buffer {
  return element(0x02, ...((bytes[0] ?? 0) >= 0x80 ? [Buffer.from([0]), bytes] : [bytes]));
}

/** An OBJECT IDENTIFIER in dots. */
export function identifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  return element(0x06, Buffer.from([40 * first + second, ...rest.flatMap(septets)]));
}

/** Base 128, all but the last with the high bit. */
function septets(arc: number): number[] {
  const bytes = [arc & 0x7f];
  for (let left = arc >>> 7; left > 0; left >>>= 7) bytes.unshift(0x80 | (left & 0x7f));
  return bytes;
}

/** UTCTime to 2049 and GeneralizedTime after that, as RFC 5280 (4.1.2.5) has it. */
export function time(date: Date): Buffer {
  const digits = date.toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  return date.getUTCFullYear() < 2050
    ? element(0x17, Buffer.from(digits.slice(2)))
    : element(0x18, Buffer.from(digits));
}

/** A BIT STRING of named bits (X.680, 22.2), of at most eight: bit 0 is the highest, and no zero bit ends it. */
export function namedBits(...positions: readonly number[]): Buffer {
  const last = Math.max(...positions);
  const octet = positions.reduce((sum, position) => sum | (0x80 >> position), 0);
  return element(0x03, Buffer.from([7 - last, octet]));
}

/** A non-negative INTEGER. */
export function integer(value: number): Buffer {
  const hex = value.toString(16);
  return positive(Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex"));
}
