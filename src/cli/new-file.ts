import { closeSync, openSync, writeSync } from "node:fs";
import { HatchwayError } from "#error";

/** Writes a file that is not there yet, 0600. Throws "exists", "invalid". */
export function writeNew(path: string, bytes: Buffer): void {
  let file: number | undefined;
  try {
    file = openSync(path, "wx", 0o600);
    for (let at = 0; at < bytes.length;) at += writeSync(file, bytes, at);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EEXIST") throw new HatchwayError("exists", `there is a file "${path}" already`, { cause });
    throw new HatchwayError("invalid", `cannot write "${path}": ${code ?? "unknown"}`, { cause });
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
