import { randomUUID } from "node:crypto";
import type {
  BackupContents,
  BackupHead,
  BackupItem,
  BackupReaders,
  Backups,
  BackupSecret,
  BackupVm,
  ByteSink,
} from "#backup";
import { encodeBackup, decodeBackup, tarSize } from "#backup/tar";
import type { Caller } from "#caller";
import { HatchwayError, toHatchwayError } from "#error";
import type { Store } from "#store";
import { ageHeader } from "#vault/age-header";
import { AgeWriter, sealedSize } from "#vault/age-stream";
import type { Subject } from "#vault/authorise";
import { recordsOf, secretWords, vmWords } from "#vault/backup-words";
import type { Gate } from "#vault/gate";
import { KeptRows } from "#vault/kept-rows";
import type { SecretRecord } from "#vault/records";
import { Rows, type Put } from "#vault/rows";
import { checkSecretName, unknownSecret } from "#vault/secret-record";
import { takeSnapshot } from "#vault/snapshot";
import { VERSION } from "#version";

/** Secrets that are taken into a store in use, at most: their records go with one commit. */
export const MAX_RESTORED = 100;
/** Rows of one commit, and bytes of values in it, before that. */
const TOGETHER = 32;
const TOGETHER_BYTES = 4_194_304;

/** A backup before any value is opened. */
interface Plan {
  head: BackupHead;
  /** With their ids. */
  secrets: { id: string; words: BackupSecret }[];
  vms: BackupVm[];
}

/** Backups at the gate. */
export class StoreBackups implements Backups {
  readonly #store: Store;
  readonly #rows: Rows;
  readonly #gate: Gate;

  constructor(store: Store, rows: Rows, gate: Gate) {
    this.#store = store;
    this.#rows = rows;
    this.#gate = gate;
  }

  contents(caller: Caller, only: readonly string[] | undefined): Promise<BackupContents> {
    return this.#gate.read(caller, "backup.make", subjectOf(only), async () => {
      const { head, secrets, vms } = await this.#plan(only);
      return {
        store: head.store,
        secrets: secrets.map(({ words: { name, versions } }) => ({
          name,
          versions: versions.length,
          bytes: versions.reduce((bytes, { size }) => bytes + size, 0),
        })),
        vms: vms.map(({ name }) => name),
        bytes: head.bytes,
      };
    });
  }

  async make(
    caller: Caller,
    only: readonly string[] | undefined,
    readers: BackupReaders,
    start: (size: number) => ByteSink,
  ): Promise<void> {
    const way = "recipients" in readers ? readers.recipients.join(",") : "passphrase";
    const { header, fileKey } = await this.#gate.mutate(
      caller,
      "backup.make",
      { ...subjectOf(only), way },
      async (commit) => {
        const result = await ageHeader(readers);
        await commit({});
        return { result };
      },
    );
    const kept = new KeptRows(this.#store);
    const unlisten = this.#gate.onDelete((keys) => kept.keep(keys));
    try {
      // What is under way now may delete rows that it has not told of.
      await this.#gate.underWay();
      const plan = await this.#plan(only);
      kept.need(
        plan.secrets.flatMap(({ id, words }) => words.versions.map(({ version }) => Rows.valueKey(id, version))),
      );
      const size = tarSize(
        plan.head,
        plan.secrets.map(({ words }) => words),
        plan.vms,
      );
      using writer = await AgeWriter.begin(header, fileKey, start(sealedSize(header, size)));
      const disclosure = { caller, way, opId: randomUUID() };
      for await (const piece of encodeBackup(this.#items(plan, kept, disclosure))) await writer.write(piece);
      await writer.end();
    } finally {
      unlisten();
      fileKey.fill(0);
    }
  }

  async restore(caller: Caller, backup: AsyncIterable<Buffer>): Promise<string[]> {
    const items = decodeBackup(backup);
    try {
      const first = await items.next();
      const names = first.done === true || first.value.kind !== "head" ? undefined : first.value.head.only;
      if (!names || names.length === 0) {
        throw new HatchwayError("invalid", "only a backup of single secrets is taken into a store in use", {
          hint: "name them with: --only; a whole backup is restored where no daemon runs",
        });
      }
      if (names.length > MAX_RESTORED) {
        throw new HatchwayError("invalid", `${names.length} secrets: at most ${MAX_RESTORED} are taken in at once`);
      }
      return await this.#restore(caller, names, items);
    } finally {
      await items.return(undefined);
    }
  }

  async #restore(caller: Caller, names: readonly string[], items: AsyncIterable<BackupItem>): Promise<string[]> {
    let staged: Staged | undefined;
    try {
      return await this.#gate.mutate(caller, "backup.restore", subjectOf(names), async (commit) => {
        await this.#mustBeFree(names);
        staged ??= await this.#stage(names, items);
        await commit({
          put: staged.records.map((record) => this.#rows.put(this.#rows.secretKey(record.name), record)),
        });
        return { result: staged.records.map(({ name }) => name) };
      });
    } catch (error) {
      // Where the store has not told, they may be in use yet.
      if (staged && toHatchwayError(error).code !== "unavailable") await this.#unstage(staged);
      throw error;
    }
  }

  async #mustBeFree(names: readonly string[]): Promise<void> {
    const there = await this.#rows.getAll(names.map((name) => this.#rows.secretKey(name)));
    const taken = names.filter((_, at) => there[at]);
    if (taken.length === 0) return;
    const which = taken.length === 1 ? `secret "${taken[0]}" exists` : `these secrets exist: ${taken.join(", ")}`;
    throw new HatchwayError("exists", `${which} already, and nothing was restored`, {
      hint: "leave them out, rename them or remove them",
    });
  }

  /** Writes the values, which nothing leads to before the records are there. */
  async #stage(names: readonly string[], items: AsyncIterable<BackupItem>): Promise<Staged> {
    const staged: Staged = { records: [], keys: [] };
    let puts: Put[] = [];
    const flush = async (): Promise<void> => {
      if (puts.length > 0) await this.#gate.keep({ put: puts });
      staged.keys.push(...puts.map(({ key }) => key));
      puts = [];
    };
    try {
      for await (const one of recordsOf(items)) {
        if (one.kind === "vm") throw new HatchwayError("invalid", "a vm is not taken into a store in use");
        if (one.kind === "secret") staged.records.push(one.record);
        else puts.push(this.#rows.putValue(one.id, one.version, one.bytes));
        if (isFull(puts)) await flush();
      }
      await flush();
      const brought = new Set(staged.records.map(({ name }) => name));
      if (brought.size !== names.length || !names.every((name) => brought.has(name))) {
        throw new HatchwayError("corrupt", "the backup is damaged: it has other secrets than it says");
      }
      return staged;
    } catch (error) {
      await this.#unstage(staged);
      throw error;
    }
  }

  /** Takes the values away again, of secrets that are not there after all. */
  async #unstage({ keys }: Staged): Promise<void> {
    while (keys.length > 0) {
      await this.#gate.keep({ delete: keys.splice(0, TOGETHER).map((key) => ({ key, version: 1 })) });
    }
  }

  async #plan(only: readonly string[] | undefined): Promise<Plan> {
    const snapshot = await takeSnapshot(this.#store, this.#rows);
    const names = new Map(snapshot.secrets.map(({ id, name }) => [id, name]));
    const secrets = chosen(snapshot.secrets, only).map((record) => ({ id: record.id, words: secretWords(record) }));
    const vms = only ? [] : snapshot.vms.map((vm) => vmWords(vm, snapshot.grants.get(vm.id), names));
    const versions = secrets.flatMap(({ words }) => words.versions);
    const head: BackupHead = {
      format: 1,
      hatchway: VERSION,
      made_at: new Date().toISOString(),
      store: { epoch: (await this.#store.epoch()).toString("hex"), revision: snapshot.revision },
      ...(only && { only: secrets.map(({ words }) => words.name) }),
      secrets: secrets.length,
      vms: vms.length,
      values: versions.length,
      bytes: versions.reduce((bytes, { size }) => bytes + size, 0),
    };
    return { head, secrets, vms };
  }

  /** One value at a time is open, after its line is in the audit trail. */
  async *#items(
    { head, secrets, vms }: Plan,
    kept: KeptRows,
    { caller, way, opId }: { caller: Caller; way: string; opId: string },
  ): AsyncGenerator<BackupItem> {
    yield { kind: "head", head };
    for (const { id, words } of secrets) {
      const { name, versions } = words;
      await this.#gate.exported(
        caller,
        opId,
        versions.map(({ version }) => ({ secret: name, version, way })),
      );
      yield { kind: "secret", secret: words };
      for (const { version, size } of versions) {
        const row = await kept.take(Rows.valueKey(id, version));
        if (!row) throw new HatchwayError("corrupt", `version ${version} of secret "${name}" is not in the store`);
        const bytes = this.#rows.openValue(row);
        try {
          if (bytes.length !== size) {
            throw new HatchwayError("corrupt", `the value of secret "${name}" is not as long as its record says`);
          }
          yield { kind: "value", name, version, bytes };
        } finally {
          bytes.fill(0);
        }
      }
    }
    for (const vm of vms) yield { kind: "vm", vm };
  }
}

interface Staged {
  records: SecretRecord[];
  /** Of their values. */
  keys: string[];
}

/** Whether puts are enough for one commit. */
export function isFull(puts: readonly Put[]): boolean {
  return puts.length >= TOGETHER || puts.reduce((size, { bytes }) => size + bytes.length, 0) >= TOGETHER_BYTES;
}

function subjectOf(only: readonly string[] | undefined): Subject {
  for (const name of only ?? []) checkSecretName(name);
  return only ? { secret: only.join(","), secrets: only } : {};
}

function chosen(secrets: readonly SecretRecord[], only: readonly string[] | undefined): readonly SecretRecord[] {
  if (!only) return secrets;
  const byName = new Map(secrets.map((record) => [record.name, record]));
  return [...new Set(only)].toSorted().map((name) => {
    const record = byName.get(name);
    if (!record) throw unknownSecret(name);
    return record;
  });
}
