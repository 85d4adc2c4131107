// The audit trail as bytes: how a line is chained to the one before, and how a whole trail is checked.
import { createHmac, timingSafeEqual } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { HatchwayError } from "#error";
import type { AuditAnchor, AuditLine, AuditPosition } from "#vault/audit";
import type { Key } from "#vault/envelope";

export const BEGINNING: AuditPosition = { offset: 0, seq: 0, mac: "0".repeat(64) };

/** Bytes that are read at a time. */
const CHUNK = 1_048_576;
const NEWLINE = 0x0a;
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
}

/**
 * Checks every line from the first on, and that the anchor's places are places of this trail. Throws "corrupt" for one
 * that was edited, or cut before the anchor's newest line.
 */
export async function checkTrail(
  file: FileHandle,
  path: string,
  key: Key,
  anchor: AuditAnchor | undefined,
): Promise<CheckedTrail> {
  const { settled, newest } = anchor ?? { settled: BEGINNING, newest: BEGINNING };
  const met = new Set([settled, newest].filter((place) => samePlace(place, BEGINNING)));
  const lines: AuditLine[] = [];
  let end = BEGINNING;
  for await (const line of wholeLines(file)) {
    const before = end;
    end = checkLine(line, path, key, before);
    for (const place of [settled, newest]) if (samePlace(place, end)) met.add(place);
    if (before.offset >= settled.offset) lines.push(JSON.parse(line.toString()) as AuditLine);
  }
  if (met.has(settled) && met.has(newest)) return { lines, end };
  throw new HatchwayError("corrupt", `the audit trail "${path}" was cut: it lacks line ${newest.seq}`);
}

/** Each line of the file that has its newline, without it. */
async function* wholeLines(file: FileHandle): AsyncIterable<Buffer> {
  const { size } = await file.stat();
  let rest = Buffer.alloc(0);
  for (let offset = 0; offset < size;) {
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, offset);
    if (bytesRead === 0) return;
    offset += bytesRead;
    rest = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
    let at = 0;
    for (let newline = rest.indexOf(NEWLINE); newline >= 0; newline = rest.indexOf(NEWLINE, at)) {
      yield rest.subarray(at, newline);
      at = newline + 1;
    }
    rest = rest.subarray(at);
  }
}

function checkLine(line: Buffer, path: string, key: Key, before: AuditPosition): AuditPosition {
  const text = line.toString();
  const said = MAC_FIELD.exec(text);
  const expected = macOf(key, before.mac, `${text.slice(0, said?.index ?? 0)}}`);
  if (!said?.[1] || !timingSafeEqual(Buffer.from(said[1]), Buffer.from(expected))) {
    throw new HatchwayError("corrupt", `the audit trail "${path}" was edited: line ${before.seq + 1} does not hold`);
  }
  return { offset: before.offset + line.length + 1, seq: before.seq + 1, mac: expected };
}

function samePlace(one: AuditPosition, other: AuditPosition): boolean {
  return one.offset === other.offset && one.seq === other.seq && one.mac === other.mac;
}

function macOf(key: Key, before: string, body: string): string {
  return createHmac("sha256", key.bytes).update(Buffer.from(before, "hex")).update(body).digest("hex");
}
