// The audit trail as a chain: how a line hangs on the one before, and how a whole trail is checked.
import { createHmac, timingSafeEqual } from "node:crypto";
import { HatchwayError } from "#error";
import type { TrailSummary } from "#trail";
import type { AuditAnchor, AuditLine, AuditPosition } from "#vault/audit";
import { linesOf, type RawLine, type Segment, startOfLast } from "#vault/audit-files";
import type { Key } from "#vault/envelope";

export const BEGINNING: AuditPosition = { offset: 0, seq: 0, mac: "0".repeat(64) };

const MAC_FIELD = /,"mac":"([0-9a-f]{64})"\}$/;

/** The line that says `body` after `before`, and where it ends. `body` is a JSON object. */
export function encodeLine(key: Key, before: AuditPosition, body: string): { line: Buffer; end: AuditPosition } {
  const mac = macOf(key, before.mac, body);
  const line = Buffer.from(`${body.slice(0, -1)},"mac":"${mac}"}\n`);
  return { line, end: { offset: before.offset + line.length, seq: before.seq + 1, mac } };
}

/** What a trail holds that start-up wants to know. */
export interface CheckedTrail {
  /** The lines after the anchor's settled part. */
  lines: AuditLine[];
  /** The end of the last whole line. */
  end: AuditPosition;
  /** Where the check began, if lines before that were not looked at. */
  from?: AuditPosition;
  /** What its last line says, RFC 3339. */
  time?: string;
}

/** Bytes before the anchor's settled part that are checked with the rest: some thousand lines, a few dozen ms. */
const AT_ONCE = 1_048_576;
/** Lines of one step of a long check. */
const STEP = 1_024;

/**
 * Checks every line from the first on, or of a long trail from the anchor's settled part on, and that the anchor's places
 * are places of this trail. Throws "corrupt" for one that was edited, or cut before the anchor's newest line.
 */
export async function checkTrail(
  segments: readonly Segment[],
  path: string,
  key: Key,
  anchor: AuditAnchor | undefined,
  atOnce: number = AT_ONCE,
): Promise<CheckedTrail> {
  const { settled, newest } = anchor ?? { settled: BEGINNING, newest: BEGINNING };
  const isLong = settled.offset - (segments[0]?.start ?? 0) > atOnce;
  const first = isLong && (await endsAt(segments, settled)) ? settled : startOf(segments, settled);
  const met = new Set([settled, newest].filter((place) => first !== undefined && samePlace(place, first)));
  const lines: AuditLine[] = [];
  let end = first ?? BEGINNING;
  let last: CheckedLine | undefined;
  for await (const checked of checkedLines(segments, path, key, first)) {
    end = checked.end;
    last = checked;
    for (const place of [settled, newest]) if (samePlace(place, end)) met.add(place);
    if (checked.start >= settled.offset) lines.push(JSON.parse(checked.text) as AuditLine);
  }
  if (met.has(settled) && met.has(newest)) {
    return {
      lines,
      end,
      ...(last && { time: stampOf(last).time }),
      ...(first === settled && isLong && { from: settled }),
    };
  }
  throw new HatchwayError("corrupt", `the audit trail "${path}" was cut: it lacks line ${newest.seq}`);
}

/**
 * Checks the whole trail, from its first line to `to`. Where the oldest files were taken away it begins with the first
 * line that is there, which nothing but the next one vouches for. Throws "corrupt" with the first bad line. `rest` is
 * waited for now and then.
 */
export async function verifyTrail(
  path: string,
  segments: readonly Segment[],
  key: Key,
  to?: AuditPosition,
  rest?: () => Promise<void>,
): Promise<TrailSummary> {
  if (segments.length === 0) throw new HatchwayError("not-found", `there is no audit trail "${path}"`);
  const summary: TrailSummary = { files: segments.length, lines: 0 };
  const start = startOf(segments, BEGINNING);
  let end = start ?? BEGINNING;
  let last: CheckedLine | undefined;
  for await (const checked of checkedLines(segments, path, key, start, to?.offset)) {
    summary.lines += 1;
    if (rest && summary.lines % STEP === 0) await rest();
    summary.first ??= stampOf(checked);
    last = checked;
    ({ end } = checked);
  }
  if (last) summary.last = stampOf(last);
  if (!to || samePlace(to, end)) return summary;
  throw new HatchwayError("corrupt", `the audit trail "${path}" was cut: it lacks line ${end.seq + 1}`);
}

/** Whether a line that ends there says what `place` does. Its MAC is for who checks the lines before it. */
async function endsAt(segments: readonly Segment[], place: AuditPosition): Promise<boolean> {
  const from = await startOfLast(segments, 1, place.offset);
  let last: RawLine | undefined;
  for await (const line of linesOf(segments, from, place.offset)) last = line;
  if (last?.end !== place.offset) return false;
  return last.text.startsWith(`{"seq":${place.seq},`) && last.text.endsWith(`,"mac":"${place.mac}"}`);
}

/** Where the first line that is there begins, if it is known what was before it. */
function startOf(segments: readonly Segment[], known: AuditPosition): AuditPosition | undefined {
  const offset = segments[0]?.start ?? 0;
  if (offset === 0) return BEGINNING;
  return known.offset === offset ? known : undefined;
}

interface CheckedLine {
  text: string;
  start: number;
  end: AuditPosition;
}

/** Each line that has its newline; an undefined `start` takes the first one as it is. */
async function* checkedLines(
  segments: readonly Segment[],
  path: string,
  key: Key,
  start: AuditPosition | undefined,
  to?: number,
): AsyncGenerator<CheckedLine> {
  let before = start;
  for await (const { text, start: offset, end } of linesOf(segments, start?.offset ?? segments[0]?.start ?? 0, to)) {
    const { seq, mac } = before ? checkLine(text, path, key, before) : unchecked(text, path);
    before = { offset: end, seq, mac };
    yield { text, start: offset, end: before };
  }
}

function checkLine(text: string, path: string, key: Key, before: AuditPosition): { seq: number; mac: string } {
  const seq = before.seq + 1;
  const said = MAC_FIELD.exec(text);
  const expected = macOf(key, before.mac, `${text.slice(0, said?.index ?? 0)}}`);
  if (said?.[1] && timingSafeEqual(Buffer.from(said[1]), Buffer.from(expected))) return { seq, mac: expected };
  throw new HatchwayError("corrupt", `the audit trail "${path}" was edited: line ${seq} does not hold`);
}

/** What is said by a line whose MAC cannot be checked. */
function unchecked(text: string, path: string): { seq: number; mac: string } {
  const seq = Number(/^\{"seq":([0-9]{1,15}),/.exec(text)?.[1]);
  const mac = MAC_FIELD.exec(text)?.[1];
  if (mac !== undefined && Number.isSafeInteger(seq)) return { seq, mac };
  throw new HatchwayError("corrupt", `the audit trail "${path}" does not begin with a line of it`);
}

function stampOf({ text, end }: CheckedLine): { seq: number; time: string } {
  return { seq: end.seq, time: /"time":"([0-9TZ:.-]+)"/.exec(text)?.[1] ?? "" };
}

function samePlace(one: AuditPosition, other: AuditPosition): boolean {
  return one.offset === other.offset && one.seq === other.seq && one.mac === other.mac;
}

function macOf(key: Key, before: string, body: string): string {
  return createHmac("sha256", key.object).update(Buffer.from(before, "hex")).update(body).digest("hex");
}
