// The header of an age file (https://age-encryption.org/v1): who can open it. The package makes and reads it; only the
// work of a passphrase is done here, in another thread.
import { randomBytes, scrypt } from "node:crypto";
import type { Identity, Recipient } from "age-encryption";
import type { BackupReaders } from "#backup";
import { HatchwayError } from "#error";
import { valueBuffer } from "#value-buffer";
import { NONCE, openSealed, sealer, TAG } from "./age-stream.ts";

const MAGIC = "age-encryption.org/v1\n";
/** The end of a header: its MAC. */
const HEADER_END = /^--- [A-Za-z0-9+/]{43}\n/m;
/** Bytes of a header, at most: of some thousand recipients. */
export const MAX_HEADER = 1_048_576;
/** log2 of scrypt's work: age's own choice, a second or so; and the most that is taken from a file (1 GiB of memory). */
const WORK = 18;
const MAX_WORK = 20;
const SCRYPT_SALT = Buffer.from("age-encryption.org/v1/scrypt");

/** What opens an age file: an identity's file and its content, or a passphrase. Both stay the caller's to wipe. */
export type AgeOpener = { path: string; identity: Buffer } | { passphrase: Buffer };

export interface AgeHeader {
  header: Buffer;
  fileKey: Buffer;
}

/** A header that these can open. Throws "invalid" for what is no recipient, "unsupported" for one of a plugin's. */
export async function ageHeader(readers: BackupReaders): Promise<AgeHeader> {
  const { Encrypter, Stanza } = await import("age-encryption");
  const encrypter = new Encrypter();
  if ("recipients" in readers) for (const recipient of readers.recipients) addRecipient(encrypter, recipient);
  let fileKey: Uint8Array = Buffer.alloc(0);
  const keep: Recipient = {
    wrapFileKey: async (key) => {
      fileKey = key;
      if (!("passphrase" in readers)) return [];
      const salt = randomBytes(16);
      const wrapping = await stretch(readers.passphrase, salt, WORK);
      const cipher = sealer(wrapping, Buffer.alloc(12));
      const body = Buffer.concat([cipher.update(key), cipher.final(), cipher.getAuthTag()]);
      wrapping.fill(0);
      return [new Stanza(["scrypt", base64(salt), String(WORK)], body)];
    },
  };
  encrypter.addRecipient(keep);
  // An empty file: its header, a nonce and one empty chunk.
  const file = Buffer.from(await encrypter.encrypt(new Uint8Array(0)));
  const kept = valueBuffer(fileKey.length);
  kept.set(fileKey);
  fileKey.fill(0);
  return { header: file.subarray(0, -NONCE - TAG), fileKey: kept };
}

function addRecipient(encrypter: { addRecipient(recipient: string): void }, recipient: string): void {
  const shown = recipient.slice(0, 80);
  if (!/^age1[0-9a-z]{1,4000}$/.test(recipient)) {
    throw new HatchwayError("invalid", `"${shown}" is not an age recipient`, {
      hint: "make an identity with: age-keygen -o identity.txt; its recipient begins with age1",
    });
  }
  const separator = recipient.lastIndexOf("1");
  if (separator > 3 && !/^age1(?:pq|tag|tagpq)1/.test(recipient)) {
    throw new HatchwayError("unsupported", `"${shown}" is of a plugin of age: a backup is sealed without plugins`, {
      hint: "seal it to an identity of age-keygen, or to a passphrase",
    });
  }
  try {
    encrypter.addRecipient(recipient);
  } catch (cause) {
    throw new HatchwayError("invalid", `"${shown}" is not an age recipient: its checksum does not hold`, { cause });
  }
}

/** Where the header at the start of `bytes` ends. Throws "corrupt" or "unsupported" for what has none that is read. */
function headerLength(bytes: Buffer): number {
  const text = bytes.toString("latin1");
  if (text.startsWith("-----BEGIN AGE ENCRYPTED FILE-----")) {
    throw new HatchwayError("unsupported", "the backup is in age's armor, which is not read here", {
      hint: "take it off with: age -d … | age -r …",
    });
  }
  if (/^age-encryption\.org\/v(?!1\n)[0-9]+\n/.test(text)) {
    throw new HatchwayError("unsupported", "the backup is sealed by a newer age than this version reads");
  }
  if (!text.startsWith(MAGIC)) throw new HatchwayError("corrupt", "this is not a backup: it is no age file");
  const end = HEADER_END.exec(text);
  if (end) return end.index + end[0].length;
  throw new HatchwayError("corrupt", "the backup is damaged: its age header does not end");
}

/** The file key, for the caller to wipe, and the header's length. Throws "wrong-key", "corrupt", "unsupported". */
export async function openHeader(start: Buffer, opener: AgeOpener): Promise<{ fileKey: Buffer; length: number }> {
  const length = headerLength(start);
  const header = start.subarray(0, length);
  const byPassphrase = /^-> scrypt /m.test(header.toString("latin1"));
  if (byPassphrase !== "passphrase" in opener) {
    throw byPassphrase
      ? new HatchwayError("wrong-key", "the backup is sealed by a passphrase, not to an identity", {
          hint: "open it with: --passphrase, or --passphrase-file",
        })
      : new HatchwayError("wrong-key", "the backup is sealed to an identity, not by a passphrase", {
          hint: "open it with: --identity",
        });
  }
  const { Decrypter } = await import("age-encryption");
  const decrypter = new Decrypter();
  addIdentities(decrypter, opener);
  try {
    const key = await decrypter.decryptHeader(header);
    const fileKey = valueBuffer(key.length);
    fileKey.set(key);
    key.fill(0);
    return { fileKey, length };
  } catch (cause) {
    if (cause instanceof HatchwayError) throw cause;
    if (cause instanceof Error && cause.message.startsWith("no identity matched")) {
      const what = "passphrase" in opener ? "the passphrase" : `the age identity "${opener.path}"`;
      throw new HatchwayError("wrong-key", `${what} does not open the backup`, { cause });
    }
    throw new HatchwayError("corrupt", "the backup is damaged: its age header does not hold", { cause });
  }
}

function addIdentities(decrypter: { addIdentity(identity: string | Identity): void }, opener: AgeOpener): void {
  if ("passphrase" in opener) return decrypter.addIdentity(passphraseIdentity(opener.passphrase));
  const lines = opener.identity
    .toString("latin1")
    .split("\n")
    .filter((line) => /^AGE-(?:SECRET-KEY|PLUGIN)-/.test(line));
  const plugin = lines.find((line) => line.startsWith("AGE-PLUGIN-"));
  if (plugin !== undefined || lines.length === 0) {
    const what =
      plugin === undefined ? "has no age identity" : "is an identity of a plugin of age, which is not read here";
    throw new HatchwayError(plugin === undefined ? "invalid" : "unsupported", `"${opener.path}" ${what}`);
  }
  for (const line of lines) {
    try {
      decrypter.addIdentity(line.trim());
    } catch (cause) {
      throw new HatchwayError("invalid", `"${opener.path}" has an age identity whose checksum does not hold`, {
        cause,
      });
    }
  }
}

function passphraseIdentity(passphrase: Buffer): Identity {
  return {
    unwrapFileKey: async (stanzas) => {
      const [stanza, ...others] = stanzas;
      const [kind, salt = "", work = ""] = stanza?.args ?? [];
      if (!stanza || others.length > 0 || kind !== "scrypt" || stanza.body.length !== 32)
        throw new Error("not one scrypt");
      const log2 = /^[1-9][0-9]?$/.test(work) ? Number(work) : Number.NaN;
      if (!(log2 <= MAX_WORK)) {
        throw new HatchwayError("unsupported", `the backup's passphrase takes more work (${work}) than ${MAX_WORK}`);
      }
      const wrapping = await stretch(passphrase, Buffer.from(salt, "base64"), log2);
      try {
        return openSealed(wrapping, Buffer.alloc(12), Buffer.from(stanza.body));
      } catch {
        // A wrong tag is all that can happen here, and means another passphrase.
        return null;
      } finally {
        wrapping.fill(0);
      }
    },
  };
}

/** The key of a passphrase, without keeping this thread from its work. */
function stretch(passphrase: Buffer, salt: Buffer, log2: number): Promise<Buffer> {
  const cost = 2 ** log2;
  const options = { N: cost, r: 8, p: 1, maxmem: 2 * 128 * 8 * cost };
  return new Promise((resolve, reject) => {
    scrypt(passphrase, Buffer.concat([SCRYPT_SALT, salt]), 32, options, (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
}

function base64(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}
