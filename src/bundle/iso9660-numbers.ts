// Numbers and dates as ECMA-119 writes them.

/** 7.2.3: little-endian, then big-endian. */
export function bothEndian16(into: Buffer, at: number, value: number): void {
  into.writeUInt16LE(value, at);
  into.writeUInt16BE(value, at + 2);
}

/** 7.3.3. */
export function bothEndian32(into: Buffer, at: number, value: number): void {
  into.writeUInt32LE(value, at);
  into.writeUInt32BE(value, at + 4);
}

/** The last second of the year 2155, which is 1900 and the most that a byte holds. */
const LATEST = Date.UTC(2156, 0, 1) / 1000 - 1;

/** 9.1.5: seven bytes, in UTC; what is later than the format can say is its latest. */
export function shortDate(seconds: number): Buffer {
  const date = new Date(Math.min(seconds, LATEST) * 1000);
  return Buffer.from([
    date.getUTCFullYear() - 1900,
    date.getUTCMonth() + 1,
    date.getUTCDate(),
    date.getUTCHours(),
    date.getUTCMinutes(),
    date.getUTCSeconds(),
    0,
  ]);
}

/** 8.4.26.1: sixteen digits and the offset; undefined is no date. */
export function longDate(seconds: number | undefined): Buffer {
  const digits =
    seconds === undefined
      ? "0".repeat(16)
      : `${new Date(Math.min(seconds, LATEST) * 1000)
          .toISOString()
          .replaceAll(/[^0-9]/g, "")
          .slice(0, 14)}00`;
  return Buffer.from(`${digits}\0`, "latin1");
}
