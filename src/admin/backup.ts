// Backups: what one would have, one as an age file, and secrets of one that come back.
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { ok, type Answer, type Ask } from "#admin/route";
import type { BackupQuery } from "#admin/queries";
import type { RestoredBody } from "#api";
import type { BackupContents, BackupReaders } from "#backup";
import { HatchwayError } from "#error";
import type { Vault } from "#vault";

export interface BackupParts {
  vault: Vault;
}

export async function showBackup(
  { vault }: BackupParts,
  { caller, query }: Ask<BackupQuery, undefined>,
): Promise<Answer> {
  return ok((await vault.backups.contents(caller, query.secrets)) satisfies BackupContents);
}

/** The body is the passphrase, where there are no recipients. */
export async function makeBackup(
  { vault }: BackupParts,
  { caller, query, value, outgoing, signal }: Ask<BackupQuery, undefined>,
): Promise<Answer> {
  await vault.backups.make(caller, query.secrets, readersOf(query, value), (size) => {
    outgoing.writeHead(200, { "content-type": "application/octet-stream", "content-length": size });
    return (bytes) => written(outgoing, bytes, signal);
  });
  outgoing.end();
  return { status: "sent" };
}

function readersOf({ recipients }: BackupQuery, passphrase: Buffer | undefined): BackupReaders {
  const hasPassphrase = passphrase !== undefined && passphrase.length > 0;
  if (recipients && !hasPassphrase) return { recipients };
  if (hasPassphrase && !recipients) return { passphrase };
  throw new HatchwayError("invalid", "a backup is sealed to recipients, or by the passphrase that is the body");
}

/** Resolves when the connection can take more. */
async function written(outgoing: ServerResponse, bytes: Buffer, signal: AbortSignal): Promise<void> {
  try {
    signal.throwIfAborted();
    if (outgoing.write(bytes)) return;
    await once(outgoing, "drain", { signal });
  } catch (cause) {
    throw new HatchwayError("invalid", "the client closed before it had the backup", { cause });
  }
}

/** The body is a backup of single secrets, unsealed. */
export async function restoreSecrets(
  { vault }: BackupParts,
  { caller, chunks }: Ask<undefined, undefined>,
): Promise<Answer> {
  return ok({ restored: await vault.backups.restore(caller, chunks()) } satisfies RestoredBody);
}
