// Reading DER (ITU-T X.690): one encoding for each content, and anything else is refused.

export interface Element {
  tag: number;
  content: Buffer;
  /** With tag and length. */
  whole: Buffer;
}

/** All elements of `bytes`, one behind the other. Throws RangeError for what is not DER. */
export function readElements(bytes: Buffer): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = byteAt(bytes, at);
    if ((tag & 0x1f) === 0x1f) throw new RangeError("a tag of more than one byte");
    const { length, start } = readLength(bytes, at + 1);
    const end = start + length;
    if (end > bytes.length) throw new RangeError("an element that is cut off");
    elements.push({ tag, content: bytes.subarray(start, end), whole: bytes.subarray(at, end) });
    at = end;
  }
  return elements;
}

/** The elements inside the one element that `bytes` is. */
export function readSequence(bytes: Buffer): Element[] {
  const [element, more] = readElements(bytes);
  if (element?.tag !== 0x30 || more) throw new RangeError("not one sequence");
  return readElements(element.content);
}

function readLength(bytes: Buffer, at: number): { length: number; start: number } {
  const first = byteAt(bytes, at);
  if (first < 0x80) return { length: first, start: at + 1 };
  const count = first & 0x7f;
  if (count === 0 || count > 4) throw new RangeError("a length of no or too many bytes");
  let length = 0;
  for (let index = 1; index <= count; index++) length = length * 256 + byteAt(bytes, at + index);
  if (length < 0x80 || length < 256 ** (count - 1)) throw new RangeError("a length that could be shorter");
  return { length, start: at + 1 + count };
}

function byteAt(bytes: Buffer, at: number): number {
  const byte = bytes[at];
  if (byte === undefined) throw new RangeError("an element that is cut off");
  return byte;
}
