// How the lines of the audit trail hang together: each has a MAC over itself and the one before.
import { createHmac, timingSafeEqual } from "node:crypto";
import { HatchwayError } from "#error";
import type { TrailSummary } from "#trail";
import type { AuditLine, AuditPosition } from "#vault/audit";
import { endOf, linesOf, type Segment } from "#vault/audit-files";
import type { Key } from "#vault/envelope";

export const BEGINNING: AuditPosition = { offset: 0, seq: 0, mac: "0".repeat(64) };

const MAC_FIELD = /,"mac":"([0-9a-f]{64})"\}$/;

export function macOf(key: Key, before: string, body: string): string {
  return createHmac("sha256", key.bytes).update(Buffer.from(before, "hex")).update(body).digest("hex");
}

/** The line, if it follows the one whose end is `before`. Throws "corrupt" with its number. */
export function checkLine(text: string, path: string, key: Key, before: AuditPosition): AuditLine {
  const said = MAC_FIELD.exec(text);
  const body = `${text.slice(0, said?.index ?? 0)}}`;
  const expected = macOf(key, before.mac, body);
  if (!said?.[1] || !timingSafeEqual(Buffer.from(said[1]), Buffer.from(expected))) {
    throw new HatchwayError("corrupt", `the audit trail "${path}" was edited: line ${before.seq + 1} does not hold`);
  }
  return JSON.parse(text) as AuditLine;
}

/** Reads and checks all whole lines after `start`. */
export async function readChain(
  segments: readonly Segment[],
  path: string,
  key: Key,
  start: AuditPosition,
): Promise<{ lines: AuditLine[]; end: AuditPosition }> {
  const size = endOf(segments);
  if (size < start.offset || start.offset < (segments[0]?.start ?? 0)) {
    throw new HatchwayError("corrupt", `the audit trail "${path}" was cut: it has ${size} bytes`);
  }
  const lines: AuditLine[] = [];
  let end = start;
  for await (const raw of linesOf(segments, start.offset)) {
    const line = checkLine(raw.text, path, key, end);
    lines.push(line);
    end = { offset: raw.end, seq: line.seq, mac: line.mac };
  }
  return { lines, end };
}

/**
 * Checks the whole trail at `path`, from its first line to `to`. Where the oldest files were taken away it begins with
 * the first line that is there, which nothing but the next one vouches for. Throws "corrupt" with the first bad line.
 */
export async function verifyTrail(
  path: string,
  segments: readonly Segment[],
  key: Key,
  to?: AuditPosition,
): Promise<TrailSummary> {
  const start = segments[0]?.start ?? 0;
  if (segments.length === 0) throw new HatchwayError("not-found", `there is no audit trail "${path}"`);
  const summary: TrailSummary = { files: segments.length, lines: 0 };
  let end = BEGINNING;
  for await (const raw of linesOf(segments, start, to?.offset)) {
    const line = summary.lines === 0 && start > 0 ? firstOfRest(raw.text, path) : checkLine(raw.text, path, key, end);
    summary.lines += 1;
    summary.first ??= { seq: line.seq, time: line.time };
    summary.last = { seq: line.seq, time: line.time };
    end = { offset: raw.end, seq: line.seq, mac: line.mac };
  }
  if (to && (end.seq !== to.seq || end.mac !== to.mac)) {
    throw new HatchwayError("corrupt", `the audit trail "${path}" was cut: it lacks line ${end.seq + 1}`);
  }
  return summary;
}

/** What is said by a line whose MAC cannot be checked. */
function firstOfRest(text: string, path: string): Pick<AuditLine, "seq" | "time" | "mac"> {
  const seq = Number(/^\{"seq":([0-9]+),/.exec(text)?.[1]);
  const mac = MAC_FIELD.exec(text)?.[1];
  const time = /"time":"([0-9TZ:.-]+)"/.exec(text)?.[1];
  if (mac === undefined || time === undefined || !Number.isSafeInteger(seq)) {
    throw new HatchwayError("corrupt", `the audit trail "${path}" does not begin with a line of it`);
  }
  return { seq, time, mac };
}
