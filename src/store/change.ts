// What every store refuses before it looks at a row. Each function throws HatchwayError "invalid".

import { HatchwayError } from "#error";
import { type Change, MAX_KEY_SIZE, MAX_LIST, MAX_OPERATIONS, MAX_ROW_SIZE } from "#store";

const OP_ID = /^[A-Za-z0-9-]{1,64}$/;
/** Printable ASCII, so that the order of code units is the order of bytes. */
const PRINTABLE = /^[ -~]*$/;

/** `most`: operations, at most. */
export function checkChange(change: Change, most: number = MAX_OPERATIONS): void {
  checkOpId(change.opId);
  const operations = change.expect.length + change.put.length + change.delete.length;
  if (operations > most) {
    throw new HatchwayError("invalid", `change has ${operations} operations: at most ${most}`);
  }
  for (const { key, version } of change.expect) {
    checkKey(key);
    checkVersion(key, version, 0);
  }
  const written = new Set<string>();
  for (const { key, version, bytes } of change.put) {
    checkWritten(key, written);
    if (version !== undefined) checkVersion(key, version, 1);
    if (bytes.length > MAX_ROW_SIZE) {
      throw new HatchwayError("invalid", `row "${key}" has ${bytes.length} bytes: at most ${MAX_ROW_SIZE}`);
    }
  }
  for (const { key, version } of change.delete) {
    checkWritten(key, written);
    checkVersion(key, version, 1);
  }
}

export function checkOpId(opId: string): void {
  if (!OP_ID.test(opId)) {
    throw new HatchwayError("invalid", `"${opId}" is not an operation's id: 1 to 64 of A-Z a-z 0-9 -`);
  }
}

export function checkKeys(keys: readonly string[]): void {
  for (const key of keys) checkKey(key);
}

export function checkListing(prefix: string, after: string | undefined, limit: number): void {
  if (!PRINTABLE.test(prefix)) throw new HatchwayError("invalid", `prefix ${JSON.stringify(prefix)} is not printable`);
  if (after !== undefined) checkKey(after);
  if (!Number.isSafeInteger(limit) || limit < 1 || limit > MAX_LIST) {
    throw new HatchwayError("invalid", `limit is ${limit}: it should be 1 to ${MAX_LIST}`);
  }
}

function checkKey(key: string): void {
  if (key.length === 0 || key.length > MAX_KEY_SIZE || !PRINTABLE.test(key)) {
    throw new HatchwayError(
      "invalid",
      `${JSON.stringify(key.slice(0, 80))} is not a key: 1 to ${MAX_KEY_SIZE} printable ASCII characters`,
    );
  }
}

function checkWritten(key: string, written: Set<string>): void {
  checkKey(key);
  if (written.has(key)) throw new HatchwayError("invalid", `change writes the row "${key}" twice`);
  written.add(key);
}

function checkVersion(key: string, version: number, least: number): void {
  if (!Number.isSafeInteger(version) || version < least) {
    throw new HatchwayError("invalid", `version of "${key}" is ${version}: it should be a whole number from ${least}`);
  }
}
