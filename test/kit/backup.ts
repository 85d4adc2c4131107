// A backup made in memory, and read again.
import type { BackupItem, BackupReaders } from "#backup";
import { decodeBackup } from "#backup/tar";
import type { Vault } from "#vault";
import { openHeader, type AgeOpener } from "#vault/age-header";
import { openPayload } from "#vault/age-stream";
import { admin } from "#test/kit/vault";

/** The age file. `during` is awaited with each piece that leaves. */
export async function backUp(
  vault: Vault,
  readers: BackupReaders,
  only?: readonly string[],
  during: () => Promise<void> = async () => undefined,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let told = 0;
  await vault.backups.make(admin, only, readers, (size) => {
    told = size;
    return async (bytes) => {
      pieces.push(Buffer.from(bytes));
      await during();
    };
  });
  const file = Buffer.concat(pieces);
  if (file.length !== told) throw new Error(`the backup has ${file.length} bytes and was said to have ${told}`);
  return file;
}

/** The unsealed bytes of an age file, in pieces that are wiped behind the reader. */
export async function* unseal(file: Buffer, opener: AgeOpener): AsyncGenerator<Buffer> {
  const { fileKey, length } = await openHeader(file, opener);
  let at = length;
  yield* openPayload(fileKey, async (into) => {
    const copied = file.copy(into, 0, at);
    at += copied;
    return copied;
  });
}

/** All items, values as copies. */
export async function itemsOf(chunks: AsyncIterable<Buffer>): Promise<BackupItem[]> {
  const items: BackupItem[] = [];
  for await (const item of decodeBackup(chunks)) {
    items.push(item.kind === "value" ? { ...item, bytes: Buffer.from(item.bytes) } : item);
  }
  return items;
}

export async function* inChunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield Buffer.from(bytes.subarray(at, at + size));
}

/** All bytes, copied before the giver wipes them. */
export async function joined(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const all: Buffer[] = [];
  for await (const chunk of chunks) all.push(Buffer.from(chunk));
  return Buffer.concat(all);
}
