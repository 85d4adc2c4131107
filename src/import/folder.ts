import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { HatchwayError } from "#error";
import { MAX_ID, MAX_VALUE_SIZE } from "#protocol/names";
import { valueBuffer } from "#value-buffer";
import type { Found, Imported } from "./imported.ts";

/**
 * A folder with a file for each secret, as Slicer keeps them: the file's bytes, mode and owner are the secret's. Names
 * that begin with a dot and what is no regular file are skipped; a symlink is never followed.
 */
export function readFolder(folder: string): Found {
  const found: Found = { secrets: [], skipped: [] };
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true }).toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name.startsWith(".")) found.skipped.push({ what: entry.name, why: "its name begins with a dot" });
      else if (!entry.isFile()) found.skipped.push({ what: entry.name, why: "it is not a regular file" });
      else found.secrets.push(readSecret(folder, entry.name));
    }
    return found;
  } catch (thrown) {
    for (const { value } of found.secrets) value.fill(0);
    if (!(thrown instanceof Error) || !("syscall" in thrown)) throw thrown;
    throw new HatchwayError("invalid", `cannot read the folder "${folder}": ${thrown.message}`, { cause: thrown });
  }
}

function readSecret(folder: string, name: string): Imported {
  const file = openSync(join(folder, name), constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { mode, uid, gid, size } = fstatSync(file);
    if (size > MAX_VALUE_SIZE) {
      throw new HatchwayError("too-large", `"${name}" has ${size} bytes, more than ${MAX_VALUE_SIZE} (1 MiB)`);
    }
    const value = valueBuffer(size);
    let length = 0;
    while (length < size) {
      const count = readSync(file, value, length, size - length, null);
      if (count === 0) break;
      length += count;
    }
    if (uid > MAX_ID || gid > MAX_ID) {
      throw new HatchwayError("invalid", `"${name}" belongs to ${uid}:${gid}: ids are at most ${MAX_ID}`);
    }
    const permissions = (mode & 0o777).toString(8).padStart(4, "0");
    return { name, value: value.subarray(0, length), metadata: { permissions, uid, gid } };
  } finally {
    closeSync(file);
  }
}
