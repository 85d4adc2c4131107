// A backup of the keys: text, a word and its parts a line, so that a shell can read it too. It is sealed by age, and
// enough to open a copy of the store without Hatchway (docs/recovery.md).
//
//   hatchway key backup 1
//   store HEX16
//   root HEX32
//   current 2
//   term 1 HEX32 2026-01-31T12:00:00.000Z
//   term 2 HEX32 2026-02-28T12:00:00.000Z
import { HatchwayError } from "#error";
import { valueBuffer } from "#value-buffer";
import { Key, KEY_SIZE } from "#vault/envelope";

export interface KeyBackup {
  storeId: Buffer;
  root: Key;
  current: number;
  terms: { term: number; created: string; key: Key }[];
}

const TITLE = "hatchway key backup 1";
const HEX = Buffer.from("0123456789abcdef");

/** In a buffer that the caller wipes: no key is ever a string. */
export function encodeKeyBackup({ storeId, root, current, terms }: KeyBackup): Buffer {
  const lines: (string | Buffer)[][] = [
    [TITLE],
    ["store ", storeId.toString("hex")],
    ["root ", hexOf(root.bytes)],
    [`current ${current}`],
    ...terms.map(({ term, created, key }) => [`term ${term} `, hexOf(key.bytes), ` ${created}`]),
  ];
  const parts = lines
    .flatMap((line) => [...line, "\n"])
    .map((part) => (typeof part === "string" ? Buffer.from(part) : part));
  const text = valueBuffer(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    at += part.copy(text, at);
    part.fill(0);
  }
  return text;
}

/**
 * Takes what `encodeKeyBackup` writes, and nothing else. Throws "corrupt" for what is no backup of keys, "unsupported" for
 * one of another version. The caller wipes the keys.
 */
export function decodeKeyBackup(text: Buffer): KeyBackup {
  const title = text.subarray(0, TITLE.length).toString("latin1");
  if (title !== TITLE) {
    const isLater = title.startsWith(TITLE.slice(0, -1));
    throw new HatchwayError(
      isLater ? "unsupported" : "corrupt",
      "this is not a backup of keys that this version reads",
    );
  }
  const backup = take(splitAt(text, 0x0a).map((line) => splitAt(line, 0x20)));
  const again = encodeKeyBackup(backup);
  const isSame = again.equals(text);
  again.fill(0);
  if (isSame) return backup;
  wipeKeys(backup);
  throw new HatchwayError("corrupt", "the backup of keys has lines that do not belong there");
}

/** Of a backup that was decoded. */
export function wipeKeys({ root, terms }: KeyBackup): void {
  for (const { bytes } of [root, ...terms.map(({ key }) => key)]) bytes.fill(0);
}

function take(lines: readonly (readonly Buffer[])[]): KeyBackup {
  const [store, root, current, ...terms] = lines.slice(1, -1);
  const [storeId, rootKey] = [bytesOf(wordOf(store, "store", 2), 16), bytesOf(wordOf(root, "root", 2), KEY_SIZE)];
  const backup: KeyBackup = {
    storeId,
    root: new Key(rootKey),
    current: numberOf(wordOf(current, "current", 2)),
    terms: [],
  };
  try {
    for (const line of terms) {
      const term = numberOf(wordOf(line, "term", 4));
      if (term <= (backup.terms.at(-1)?.term ?? 0)) throw corrupt("has its terms out of order");
      const [, , key, created] = line;
      backup.terms.push({ term, key: new Key(bytesOf(key, KEY_SIZE)), created: created?.toString("latin1") ?? "" });
    }
    if (!backup.terms.some(({ term }) => term === backup.current)) throw corrupt("lacks the current term");
    return backup;
  } catch (error) {
    wipeKeys(backup);
    throw error;
  }
}

/** What follows the word that a line begins with. */
function wordOf(line: readonly Buffer[] | undefined, word: string, parts: number): Buffer | undefined {
  if (line?.length === parts && line[0]?.toString("latin1") === word) return line[1];
  throw corrupt(`lacks the line "${word}" where it belongs`);
}

function numberOf(digits: Buffer | undefined): number {
  const text = digits?.toString("latin1") ?? "";
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw corrupt("has a term that is no number");
  return Number(text);
}

function corrupt(what: string): HatchwayError {
  return new HatchwayError("corrupt", `the backup of keys ${what}`);
}

/** Views of what is between the separators. */
function splitAt(text: Buffer, separator: number): Buffer[] {
  const parts: Buffer[] = [];
  let at = 0;
  for (let end = text.indexOf(separator); end >= 0; end = text.indexOf(separator, at)) {
    parts.push(text.subarray(at, end));
    at = end + 1;
  }
  return [...parts, text.subarray(at)];
}

function hexOf(bytes: Buffer): Buffer {
  const hex = valueBuffer(2 * bytes.length);
  bytes.forEach((byte, at) => {
    hex[2 * at] = HEX[byte >> 4] ?? 0;
    hex[2 * at + 1] = HEX[byte & 15] ?? 0;
  });
  return hex;
}

function bytesOf(hex: Buffer | undefined, size: number): Buffer {
  if (hex?.length !== 2 * size) throw corrupt("has a line of another length");
  const bytes = valueBuffer(size);
  for (let at = 0; at < size; at++) {
    const [high, low] = [HEX.indexOf(hex[2 * at] ?? 0), HEX.indexOf(hex[2 * at + 1] ?? 0)];
    if (high < 0 || low < 0) throw corrupt("has a line that is not hex");
    bytes[at] = 16 * high + low;
  }
  return bytes;
}
