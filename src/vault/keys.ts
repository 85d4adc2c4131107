import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import type { Keys, KeysStatus, Missed, NewWay, RewrapProgress, Way } from "#keys";
import { ageSeal } from "#vault/age";
import type { Gate } from "#vault/gate";
import type { Keyring } from "#vault/keyring";
import type { Rewrap } from "#vault/rewrap";

/** What may be done with the keys, at the gate. The keyring's file is not the store's, so a commit says only that it was. */
export class KeyOperations implements Keys {
  readonly #gate: Gate;
  readonly #keyring: Keyring;
  readonly #rewrap: Rewrap;

  constructor(gate: Gate, keyring: Keyring, rewrap: Rewrap) {
    this.#gate = gate;
    this.#keyring = keyring;
    this.#rewrap = rewrap;
  }

  get openedBy(): string {
    return this.#keyring.openedBy;
  }

  status(caller: Caller): Promise<KeysStatus> {
    return this.#gate.read(caller, "key.status", {}, async () => {
      const counts = await this.#rewrap.count();
      const { openedBy, ways, current, terms } = this.#keyring;
      return {
        sealed: false,
        openedBy,
        ways,
        current,
        terms: terms.map((term) => ({ ...term, rows: counts.get(term.term) ?? 0 })),
      };
    });
  }

  addWay(caller: Caller, name: string, way: NewWay): Promise<Way> {
    return this.#gate.mutate(caller, "key.way.add", { way: name }, async (commit) => {
      const result = await this.#keyring.addWay(name, way);
      await commit({});
      return { result };
    });
  }

  removeWay(caller: Caller, name: string): Promise<void> {
    return this.#gate.mutate(caller, "key.way.remove", { way: name }, async (commit) => {
      await this.#keyring.removeWay(name);
      await commit({});
      return { result: undefined };
    });
  }

  rotate(caller: Caller): Promise<number> {
    return this.#gate.mutate(caller, "key.rotate", {}, async (commit) => {
      const result = await this.#keyring.addTerm();
      await commit({});
      return { result, subject: { version: result } };
    });
  }

  rewrap(caller: Caller): Promise<void> {
    return this.#gate.mutate(caller, "key.rewrap", { version: this.#keyring.current }, async (commit) => {
      await this.#rewrap.start();
      await commit({});
      return { result: undefined };
    });
  }

  rewrapProgress(caller: Caller): Promise<RewrapProgress> {
    return this.#gate.read(caller, "key.status", {}, async () => this.#rewrap.progress);
  }

  async retire(caller: Caller, term: number): Promise<void> {
    // What was begun before may have sealed under the term already and commit after the scan.
    const wasOld = term !== this.#keyring.current;
    await this.#gate.underWay();
    await this.#gate.mutate(caller, "key.retire", { version: term }, async (commit) => {
      this.#keyring.checkOldTerm(term);
      if (!wasOld) throw new HatchwayError("conflict", `term ${term} was the current one a moment ago`);
      // What is queued at the store is there once something that came after it is.
      await this.#gate.keep({});
      const used = (await this.#rewrap.count()).get(term) ?? 0;
      if (used > 0) {
        throw new HatchwayError("conflict", `${used} rows are sealed under term ${term}`, {
          hint: "bring them under the current term first: hatchway key rewrap",
        });
      }
      await this.#keyring.dropTerm(term);
      await commit({});
      return { result: undefined };
    });
  }

  mark(caller: Caller, what: "key.seal" | "key.unseal", way?: string): Promise<void> {
    return this.#gate.mutate(caller, what, way === undefined ? {} : { way }, async (commit) => {
      await commit({});
      return { result: undefined };
    });
  }

  async missed(refused: readonly Missed[]): Promise<void> {
    for (const { caller, operation, outcome } of refused) await this.#gate.refused(caller, operation, outcome);
  }

  /** A line for it is on disk before anything leaves. */
  backup(caller: Caller, recipient: string): Promise<Buffer> {
    return this.#gate.mutate(caller, "key.backup", { way: recipient }, async (commit) => {
      const text = this.#keyring.exportKeys();
      try {
        const result = await ageSeal(recipient, text);
        await commit({});
        return { result };
      } finally {
        text.fill(0);
      }
    });
  }
}
