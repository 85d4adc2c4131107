import { open, type FileHandle } from "node:fs/promises";
import type { BackupContents, BackupItem } from "#backup";
import { decodeBackup, encodeBackup } from "#backup/tar";
import { HatchwayError } from "#error";
import { errnoText, readPrivateFile } from "#host/files";
import { MAX_HEADER, openHeader, type AgeOpener } from "#vault/age-header";
import { openPayload } from "#vault/age-stream";
import { recordsOf } from "#vault/backup-words";

/** What opens a backup: the path of an age identity, or a passphrase, which stays the caller's to wipe. */
export type Opener = { identity: string } | { passphrase: Buffer };

/** A backup in a file, opened. Disposing closes it and wipes its key. */
export class BackupFile implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #fileKey: Buffer;
  readonly #headerLength: number;

  private constructor(file: FileHandle, fileKey: Buffer, headerLength: number) {
    this.#file = file;
    this.#fileKey = fileKey;
    this.#headerLength = headerLength;
  }

  /** Throws "invalid", "wrong-key", "corrupt", "unsupported". */
  static async open(path: string, opener: Opener): Promise<BackupFile> {
    const file = await openFile(path);
    try {
      const start = Buffer.alloc(MAX_HEADER);
      const length = await fill(file, start, 0);
      const { fileKey, length: headerLength } = await withOpener(opener, (known) =>
        openHeader(start.subarray(0, length), known),
      );
      return new BackupFile(file, fileKey, headerLength);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** From the start, as often as it is called. */
  items(): AsyncGenerator<BackupItem> {
    let at = this.#headerLength;
    const chunks = openPayload(this.#fileKey, async (into) => {
      const length = await fill(this.#file, into, at);
      at += length;
      return length;
    });
    return decodeBackup(chunks);
  }

  /** Reads and checks all of it. */
  async contents(): Promise<BackupContents> {
    const contents: BackupContents = { store: { epoch: "", revision: 0 }, secrets: [], vms: [], bytes: 0 };
    const note = async function* (items: AsyncIterable<BackupItem>): AsyncGenerator<BackupItem> {
      for await (const item of items) {
        if (item.kind === "head") [contents.store, contents.bytes] = [item.head.store, item.head.bytes];
        if (item.kind === "vm") contents.vms.push(item.vm.name);
        if (item.kind === "secret") {
          const { name, versions } = item.secret;
          const bytes = versions.reduce((sum, { size }) => sum + size, 0);
          contents.secrets.push({ name, versions: versions.length, bytes });
        }
        yield item;
      }
    };
    // What it says is checked by making records of it, as restoring does.
    for await (const _ of recordsOf(note(this.items())));
    return contents;
  }

  /** A backup of these secrets alone, unsealed. Throws "not-found" for one that is not in it. */
  async *only(names: readonly string[]): AsyncGenerator<Buffer> {
    const { secrets } = await this.contents();
    const wanted = new Set(names);
    const chosen = secrets.filter(({ name }) => wanted.has(name));
    const missing = names.filter((name) => !secrets.some((secret) => secret.name === name));
    if (missing.length > 0) {
      throw new HatchwayError("not-found", `the backup has no secret "${missing.join('", "')}"`, {
        hint: "see what it has with: --dry-run",
      });
    }
    const counts = {
      only: chosen.map(({ name }) => name),
      secrets: chosen.length,
      vms: 0,
      values: chosen.reduce((sum, { versions }) => sum + versions, 0),
      bytes: chosen.reduce((sum, { bytes }) => sum + bytes, 0),
    };
    yield* encodeBackup(filtered(this.items(), wanted, counts));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#fileKey.fill(0);
    await this.#file.close();
  }
}

async function* filtered(
  items: AsyncIterable<BackupItem>,
  wanted: ReadonlySet<string>,
  counts: { only: string[]; secrets: number; vms: number; values: number; bytes: number },
): AsyncGenerator<BackupItem> {
  for await (const item of items) {
    if (item.kind === "head") yield { kind: "head", head: { ...item.head, ...counts } };
    else if (item.kind === "secret" && wanted.has(item.secret.name)) yield item;
    else if (item.kind === "value" && wanted.has(item.name)) yield item;
  }
}

async function withOpener<T>(opener: Opener, use: (opener: AgeOpener) => Promise<T>): Promise<T> {
  if ("passphrase" in opener) return use(opener);
  const identity = await readPrivateFile(opener.identity, 65_536);
  if (!identity) throw new HatchwayError("invalid", `there is no age identity "${opener.identity}"`);
  try {
    return await use({ path: opener.identity, identity });
  } finally {
    identity.fill(0);
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (cause) {
    throw new HatchwayError("invalid", `cannot read "${path}": ${errnoText(cause)}`, { cause });
  }
}

/** Fills `into` from byte `at` on; answers how much there was. */
async function fill(file: FileHandle, into: Buffer, at: number): Promise<number> {
  let length = 0;
  while (length < into.length) {
    const { bytesRead } = await readAt(file, into, length, at + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return length;
}

async function readAt(file: FileHandle, into: Buffer, offset: number, at: number): Promise<{ bytesRead: number }> {
  try {
    return await file.read(into, offset, into.length - offset, at);
  } catch (cause) {
    throw new HatchwayError("invalid", `cannot read the backup: ${errnoText(cause)}`, { cause });
  }
}
