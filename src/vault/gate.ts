import { randomUUID } from "node:crypto";
import { describeCaller, type Caller } from "#caller";
import { HatchwayError, toHatchwayError, type ErrorCode } from "#error";
import { Mutex } from "#mutex";
import type { Scope } from "#role";
import type { Change, Store } from "#store";
import type { Audit, AuditAnchor, AuditFields } from "#vault/audit";
import { authorise, refusalOf, scopes, type Operation, type Policy, type Subject } from "#vault/authorise";
import type { Put, Rows } from "#vault/rows";

/** The row `head`: where the trail was, and that there is a tree over all rows. */
export interface Head extends AuditAnchor {
  /** Absent in a store of a time when there was none. */
  tree?: true;
}

export type Writes = Partial<Pick<Change, "expect" | "put" | "delete">>;

/** Told which rows are about to be deleted; they are once it has resolved. */
export type BeforeDelete = (keys: readonly string[]) => Promise<void>;

/** Values leave for a guest, or for a person who makes an image of them. */
export type Disclosure = "secret.disclose" | "bundle.export";

const HEAD = "head";
/** How often a change that met another one is tried again. */
const TRIES = 8;
/** Milliseconds to ask for the fate of a commit that the store could not tell. */
const UNKNOWN_DEADLINE = 5_000;

/** Authorise, audit the intent, act, audit the outcome: the one order of everything. */
export class Gate {
  /** The row that says how far the audit trail reached. */
  static readonly HEAD: string = HEAD;
  readonly #store: Store;
  readonly #rows: Rows;
  readonly #audit: Audit;
  readonly #policy: Policy;
  /** Whether the lines of what leaves are on disk before it does, and not only written. */
  readonly #durableReads: boolean;
  readonly #underWay = new Set<Promise<void>>();
  /** What changes the same secret or VM: side by side most of it would only meet each other, and try again in vain. */
  readonly #oneByOne = new Mutex();
  /** Operations whose fate the store did not tell in time. Their intents stay open, for `#learn` or for start-up. */
  readonly #uncertain = new Map<string, AuditFields | undefined>();
  readonly #beforeDeletes = new Set<BeforeDelete>();

  constructor(store: Store, rows: Rows, audit: Audit, policy: Policy, durableReads: boolean) {
    this.#store = store;
    this.#rows = rows;
    this.#audit = audit;
    this.#policy = policy;
    this.#durableReads = durableReads;
  }

  /** What the newest mutation left in the store. Throws "corrupt" where it is missing. */
  static async headOf(store: Store, rows: Rows): Promise<Head | undefined> {
    const head = await rows.getBlind<Head>(HEAD);
    if (head || (await store.revision()) === 0) return head;
    throw new HatchwayError("corrupt", "the store lacks the row that says how far the audit trail reached");
  }

  /** The time of day, in milliseconds since 1970, that records and lines say: it never goes back. */
  now(): number {
    return this.#audit.now();
  }

  /** Leaves in the store how far the trail has reached, so that not even its last lines can be cut off unseen. */
  async settle(): Promise<void> {
    await this.#audit.settle();
    if ((await this.#store.revision()) > 0) await this.keep({ put: [this.#head()] });
  }

  /** Whether an operation would be allowed: for lists, of which everybody sees his part. Leaves no line. */
  may(caller: Caller, operation: Operation, subject: Subject): boolean {
    return this.refusal(caller, operation, subject) === undefined;
  }

  /** Why an operation would not be allowed. Leaves no line. */
  refusal(caller: Caller, operation: Operation, subject: Subject): HatchwayError | undefined {
    return refusalOf(this.#policy, caller, operation, subject);
  }

  scopes(caller: Caller): readonly Scope[] {
    return scopes(this.#policy, caller);
  }

  /** An operation that changes nothing and discloses no value. Only a refusal leaves a line. */
  async read<T>(caller: Caller, operation: Operation, subject: Subject, act: () => Promise<T>): Promise<T> {
    await this.#authorise(caller, operation, subject);
    return act();
  }

  /**
   * An operation that changes something. `act` calls `commit` once, for the change that makes the operation visible (a
   * larger one prepares it with `keep`); it is run again, from its reading on, when that met another change. What it
   * gives as `subject` completes the line of the outcome.
   */
  async mutate<T>(
    caller: Caller,
    operation: Operation,
    subject: Subject,
    act: (commit: (writes: Writes) => Promise<void>) => Promise<{ result: T; subject?: Subject }>,
  ): Promise<T> {
    await this.#authorise(caller, operation, subject);
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    this.#underWay.add(over);
    try {
      return await this.#mutate(caller, operation, subject, act);
    } finally {
      this.#underWay.delete(over);
      end();
    }
  }

  /** Resolves once the changes that are under way now are over. */
  async over(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  /** The same; throws "unavailable" if the fate of one is not known. */
  async underWay(): Promise<void> {
    await this.over();
    await this.#learn();
    if (this.#uncertain.size === 0) return;
    throw new HatchwayError("unavailable", "the store has not told yet what became of a change", { hint: "try again" });
  }

  async #mutate<T>(
    caller: Caller,
    operation: Operation,
    subject: Subject,
    act: (commit: (writes: Writes) => Promise<void>) => Promise<{ result: T; subject?: Subject }>,
  ): Promise<T> {
    await this.#learn();
    const fields = auditFields(caller, operation, randomUUID(), subject);
    await this.#audit.intent(fields, true);
    let revision: number | undefined;
    const commit = async (writes: Writes): Promise<void> => {
      revision = await this.#commit(fields.opId, writes);
    };
    try {
      const done = await this.#oneByOne.run(keyOf(subject), () => this.retry(() => act(commit)));
      const at = revision === undefined ? {} : { revision };
      await this.#audit.outcome({ ...fields, ...auditSubject(done.subject), ...at, outcome: "ok" });
      return done.result;
    } catch (error) {
      if (this.#uncertain.has(fields.opId)) this.#uncertain.set(fields.opId, fields);
      else await this.#audit.outcome({ ...fields, outcome: toHatchwayError(error).code });
      throw error;
    }
  }

  /** Calls `listener` before rows are deleted, whoever does it. The returned function ends it. */
  onDelete(listener: BeforeDelete): () => void {
    this.#beforeDeletes.add(listener);
    return () => void this.#beforeDeletes.delete(listener);
  }

  async #announce(deletes: Writes["delete"] = []): Promise<void> {
    if (deletes.length === 0) return;
    const keys = deletes.map(({ key }) => key);
    for (const listener of this.#beforeDeletes) await listener(keys);
  }

  /** A write of the vault's own bookkeeping: no line, no caller. */
  async keep(writes: Writes): Promise<void> {
    await this.#announce(writes.delete);
    await this.#store.commit({ opId: randomUUID(), expect: [], put: [], delete: [], ...writes }).then((result) => {
      if (result.outcome === "ok") return;
      throw new HatchwayError(
        result.outcome === "conflict" ? "conflict" : "unavailable",
        "the store did not take a change",
      );
    });
  }

  /** Writes the lines that say which values leave, and to whom. Nothing may leave before this has resolved. */
  async disclose(caller: Caller, operation: Disclosure, about: Subject, subjects: readonly Subject[]): Promise<void> {
    await this.#authorise(caller, operation, about);
    const opId = randomUUID();
    const lines = subjects.map((subject) => ({ ...auditFields(caller, operation, opId, subject), outcome: "ok" }));
    await this.#audit.record(lines, this.#durableReads);
  }

  /**
   * Writes the lines that say which values leave by an operation that was let through. None may leave before this has
   * resolved.
   */
  async exported(caller: Caller, opId: string, subjects: readonly Subject[]): Promise<void> {
    const lines = subjects.map((subject) => auditFields(caller, "backup.make", opId, subject));
    await this.#audit.record(
      lines.map((fields) => ({ ...fields, outcome: "ok" })),
      this.#durableReads,
    );
  }

  /** A line for something that a guest did and should not have. */
  async alarm(caller: Caller, operation: Operation, subject: Subject): Promise<void> {
    const fields = auditFields(caller, operation, randomUUID(), subject);
    await this.#audit.record([{ ...fields, outcome: "alarm" }], false);
  }

  /** A line for what was refused; after the fact where none could be written then. */
  async refused(caller: Caller, operation: Operation, outcome: ErrorCode, subject: Subject = {}): Promise<void> {
    await this.#audit.record([{ ...auditFields(caller, operation, randomUUID(), subject), outcome }], false);
  }

  async #authorise(caller: Caller, operation: Operation, subject: Subject): Promise<void> {
    try {
      authorise(this.#policy, caller, operation, subject);
    } catch (error) {
      await this.refused(caller, operation, toHatchwayError(error).code, subject);
      throw error;
    }
  }

  /** Runs `act` again, from its reading on, as long as what it writes meets other changes; a bounded number of times. */
  async retry<T>(act: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await act();
      } catch (error) {
        if (!(error instanceof HatchwayError && error.code === "conflict") || attempt + 1 >= TRIES) throw error;
      }
    }
  }

  /** Answers the revision of the store that has it. */
  async #commit(opId: string, writes: Writes): Promise<number> {
    await this.#announce(writes.delete);
    const change: Change = {
      opId,
      expect: writes.expect ?? [],
      put: [...(writes.put ?? []), this.#head()],
      delete: writes.delete ?? [],
    };
    const result = await this.#store.commit(change);
    if (result.outcome === "ok") return result.revision;
    if (result.outcome === "conflict") {
      throw new HatchwayError("conflict", "somebody else changed it meanwhile", { hint: "try again" });
    }
    const fate = await this.#fateOf(opId);
    if (fate === "open") this.#uncertain.set(opId, undefined);
    if (typeof fate === "number") return fate;
    throw new HatchwayError("unavailable", "the store does not say whether the change was made", {
      hint: "look at the secret or vm, then try again",
    });
  }

  #head(): Put {
    return this.#rows.putBlind(HEAD, {
      ...this.#audit.anchor,
      keyring: this.#rows.keyringEdition,
      tree: true,
    } satisfies Head);
  }

  /** Whether a commit that was given up may become visible yet, at any change of the store. */
  get isUncertain(): boolean {
    return this.#uncertain.size > 0;
  }

  /** Writes the outcomes of operations that were given up while nobody knew of them, as far as it is known now. */
  async #learn(): Promise<void> {
    for (const [opId, fields] of this.#uncertain) {
      const fate = await fateOf(this.#store, opId);
      if (fate === "open" || !fields) continue;
      this.#uncertain.delete(opId);
      const done = typeof fate === "number" ? { revision: fate, outcome: "ok" } : { outcome: fate };
      await this.#audit.outcome({ ...fields, ...done });
    }
  }

  async #fateOf(opId: string): Promise<Fate> {
    const deadline = performance.now() + UNKNOWN_DEADLINE;
    for (;;) {
      const fate = await fateOf(this.#store, opId);
      if (typeof fate === "number" || performance.now() >= deadline) return fate;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** What became of a commit: at which revision it was done; one that is under way still may be done yet. */
type Fate = number | "not-done" | "open";

async function fateOf(store: Store, opId: string): Promise<Fate> {
  try {
    return (await store.committed(opId)) ?? "not-done";
  } catch (error) {
    if (error instanceof HatchwayError && error.code === "unavailable") return "open";
    throw error;
  }
}

function keyOf({ vm, vmId, secret }: Subject): string {
  return vm ?? vmId ?? `secret ${secret ?? ""}`;
}

function auditFields(caller: Caller, op: Operation, opId: string, subject: Subject): AuditFields {
  return { op, opId, caller: describeCaller(caller), ...auditSubject(subject) };
}

function auditSubject(subject: Subject | undefined): Partial<AuditFields> {
  const { secret, vm, vmId, version, way } = subject ?? {};
  const named = vm ?? vmId;
  return {
    ...(secret !== undefined && { secret }),
    ...(named !== undefined && { vm: named }),
    ...(version !== undefined && { version }),
    ...(way !== undefined && { way }),
  };
}
