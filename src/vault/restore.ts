// A whole backup into an empty store, whose daemon does not run yet. The audit trail gets its intent now. Its outcome is
// written by the next start, which asks the store whether it was done (src/vault/open.ts): until the finished store is put
// in its place, it was not.
import { randomUUID } from "node:crypto";
import type { BackupItem } from "#backup";
import { describeCaller, type Caller } from "#caller";
import { HatchwayError } from "#error";
import type { Grant } from "#grant";
import type { Change, Store } from "#store";
import { Audit } from "#vault/audit";
import { isFull } from "#vault/backups";
import { recordsOf } from "#vault/backup-words";
import { Gate } from "#vault/gate";
import { Ledgers } from "#vault/ledgers";
import { keyringOf, type VaultPlaces } from "#vault/open";
import type { GrantsRecord, HolderRecord, VmRecord } from "#vault/records";
import { Rows, type Put } from "#vault/rows";

/**
 * Writes all of a backup into `store`, which must be empty. The keyring is made where there is none, and a trail that is
 * there goes on. Throws what reading the backup throws, and then the store is to be thrown away.
 */
export async function restoreStore(
  store: Store,
  places: VaultPlaces,
  caller: Caller,
  items: AsyncIterable<BackupItem>,
): Promise<void> {
  if ((await store.revision()) > 0) throw new HatchwayError("exists", "the store is not empty");
  using keyring = await keyringOf(store, places);
  const rows = new Rows(store, keyring);
  const { audit, open } = await Audit.open(places.audit, keyring.auditKey, undefined);
  try {
    // Of a store that is gone, or of an earlier restoring that was killed: nothing of it is here.
    for (const { op, opId, caller: who } of open) {
      await audit.outcome({ op, opId, caller: who, outcome: "not-done" });
    }
    const opId = randomUUID();
    await audit.intent({ op: "backup.restore", opId, caller: describeCaller(caller) }, true);
    for await (const puts of batches(rows, items)) await commit(store, { put: puts });
    await commit(store, { opId, put: [rows.putBlind(Gate.HEAD, audit.anchor)] });
  } finally {
    await audit.close();
  }
}

/** The rows of a backup, as many at once as go into one commit. */
async function* batches(rows: Rows, items: AsyncIterable<BackupItem>): AsyncGenerator<Put[]> {
  const puts: Put[] = [];
  for await (const one of recordsOf(items)) {
    // A value's bytes are gone when the next item comes, so each is sealed at once.
    if (one.kind === "value") puts.push(rows.putValue(one.id, one.version, one.bytes));
    else if (one.kind === "secret") puts.push(rows.put(rows.secretKey(one.record.name), one.record));
    else puts.push(...vmRows(rows, one.vm, one.grants));
    while (isFull(puts)) yield puts.splice(0, 32);
  }
  if (puts.length > 0) yield puts;
}

function vmRows(rows: Rows, vm: VmRecord, grants: Grant[]): Put[] {
  const { id, name } = vm;
  return [
    rows.put<VmRecord>(rows.vmKey(name), vm),
    rows.put<GrantsRecord>(`grants:${id}`, { vmName: name, grants }),
    rows.put(Ledgers.key(id), Ledgers.initial(name)),
    ...grants.map(({ secretId }) => rows.put<HolderRecord>(`holder:${secretId}:${id}`, { vmName: name })),
  ];
}

async function commit(
  store: Store,
  { opId = randomUUID(), put }: Partial<Pick<Change, "opId" | "put">>,
): Promise<void> {
  const { outcome } = await store.commit({ opId, expect: [], put: put ?? [], delete: [] });
  if (outcome !== "ok") throw new HatchwayError("unavailable", `the new store did not take a change: ${outcome}`);
}
