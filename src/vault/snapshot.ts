import { HatchwayError } from "#error";
import type { Row, Store } from "#store";
import type { GrantsRecord, SecretRecord, VmRecord } from "#vault/records";
import type { Rows } from "#vault/rows";

/** All that a store says at one revision, but for the values and the ledgers. */
export interface Snapshot {
  revision: number;
  /** By name. */
  secrets: SecretRecord[];
  /** By name. */
  vms: VmRecord[];
  /** By the VM's id. */
  grants: ReadonlyMap<string, GrantsRecord>;
}

const SECRETS = "secret:";
const VMS = "vm:";
const GRANTS = "grants:";
const PREFIXES = [SECRETS, VMS, GRANTS];
const PAGE = 1_000;
/** Keys that are read again at once. */
const AGAIN = 1_000;
/** Readings of what changed meanwhile, and whole attempts, before it is given up. */
const ROUNDS = 100;
const ATTEMPTS = 3;
/** Milliseconds for a store to tell of a change that it has shown. */
const TOLD_DEADLINE = 5_000;

/**
 * Reads a store that others write to as it was at one revision. Throws "unavailable" where it changes faster than it can
 * be read.
 */
export async function takeSnapshot(store: Store, rows: Rows): Promise<Snapshot> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const read = await readAll(store);
    if (read) return opened(rows, read);
  }
  throw new HatchwayError("unavailable", "the store changes too fast to be read as of one moment", {
    hint: "try again when less is being written",
  });
}

interface Read {
  revision: number;
  rows: ReadonlyMap<string, Row>;
}

/**
 * Lists the rows, page by page, and then reads again what was written meanwhile, until one reading has all of it: the
 * rows that no change is known of up to that reading's revision are the same at it. Undefined where changes were missed.
 */
async function readAll(store: Store): Promise<Read | undefined> {
  const changes = new Changes(store, await store.revision());
  try {
    const rows = new Map<string, Row>();
    for (const prefix of PREFIXES) {
      for (let after: string | undefined; ;) {
        const page = await store.list(prefix, { limit: PAGE, ...(after !== undefined && { after }) });
        for (const row of page.rows) rows.set(row.key, row);
        after = page.rows.at(-1)?.key;
        if (!page.more || after === undefined) break;
      }
    }
    for (let round = 0; round < ROUNDS; round++) {
      const keys = changes.take(AGAIN);
      const again = await store.read(keys);
      keys.forEach((key, at) => {
        const row = again.rows[at];
        if (row) rows.set(key, row);
        else rows.delete(key);
      });
      await changes.toldOf(again.revision);
      if (changes.missed) return undefined;
      if (!changes.anyUpTo(again.revision)) return { revision: again.revision, rows };
    }
    return undefined;
  } finally {
    changes.stop();
  }
}

/** The keys that were written since a revision, as far as they matter and were not read again. */
class Changes {
  /** With the revision of the first change. */
  readonly #keys = new Map<string, number>();
  readonly #unwatch: () => void;
  #told: number;
  #wake: () => void = () => undefined;
  missed = false;

  constructor(store: Store, from: number) {
    this.#told = from;
    this.#unwatch = store.watch(from, (event) => {
      if (event.kind === "reset") this.missed = true;
      else this.#take(event.revision, event.keys);
      this.#wake();
    });
  }

  /** Some of the keys, which the caller reads now. */
  take(most: number): string[] {
    const keys = [...this.#keys.keys()].slice(0, most);
    for (const key of keys) this.#keys.delete(key);
    return keys;
  }

  anyUpTo(revision: number): boolean {
    for (const first of this.#keys.values()) if (first <= revision) return true;
    return false;
  }

  /** Resolves once all changes up to `revision` are known, or some were missed. */
  async toldOf(revision: number): Promise<void> {
    const deadline = Date.now() + TOLD_DEADLINE;
    while (this.#told < revision && !this.missed) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const late = setTimeout(resolve, deadline - Date.now());
      await promise;
      clearTimeout(late);
      if (Date.now() >= deadline) this.missed = true;
    }
  }

  stop(): void {
    this.#unwatch();
  }

  #take(revision: number, keys: readonly string[]): void {
    this.#told = revision;
    for (const key of keys) {
      if (!this.#keys.has(key) && PREFIXES.some((prefix) => key.startsWith(prefix))) this.#keys.set(key, revision);
    }
  }
}

function opened(rows: Rows, read: Read): Snapshot {
  const secrets: SecretRecord[] = [];
  const vms: VmRecord[] = [];
  const grants = new Map<string, GrantsRecord>();
  for (const row of read.rows.values()) {
    if (row.key.startsWith(SECRETS)) secrets.push(rows.open<SecretRecord>(row).record);
    else if (row.key.startsWith(VMS)) vms.push(rows.open<VmRecord>(row).record);
    else grants.set(row.key.slice(GRANTS.length), rows.open<GrantsRecord>(row).record);
  }
  return { revision: read.revision, secrets: byName(secrets), vms: byName(vms), grants };
}

function byName<T extends { name: string }>(records: T[]): T[] {
  return records.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}
