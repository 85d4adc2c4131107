import { describeCaller, type Caller } from "#caller";
import { Clock } from "#clock";
import { HatchwayError, toHatchwayError } from "#error";
import type { KeysStatus, Missed, Opener } from "#keys";
import { collectGarbage } from "#host/memory";
import { Mutex } from "#mutex";
import type { Sealing } from "#sealing";
import type { Store } from "#store";
import type { Vault } from "#vault";
import { authorise, type Policy } from "#vault/authorise";
import { forwarded } from "#vault/forwarded";
import { readKeyring } from "#vault/keyring-file";
import { openVault, type VaultOptions, type VaultPlaces } from "#vault/open";
import { Patience } from "#vault/patience";
import { countTerms } from "#vault/rewrap";
import { describeWay, needsPerson } from "#vault/ways";

export interface SealableOptions {
  /** For each vault that is opened. */
  vault?: Omit<VaultOptions, "clock">;
  /** Start sealed, whatever would open the keys. */
  sealed?: boolean;
  /** The daemon's log. */
  report(line: string): void;
  /** Called each time that the keys were opened again. */
  unsealed(): Promise<void>;
}

const UNSEAL_HINT = "open them with: hatchway key unseal";
const BRING_HINT = "bring what opens them: --passphrase, --identity FILE or --key-file FILE";
/** Refused callers that are remembered for the audit trail, at most. */
const MAX_MISSED = 1_000;

/**
 * A vault that can be sealed in place. To seal is to close the open vault, and to unseal to open another one over the
 * same store, so that each of them holds keys from its first moment to its last. It owns the store.
 */
export class SealableVault implements Sealing {
  /** Throws "sealed" for everything, while it is. */
  readonly vault: Vault;
  readonly #store: Store;
  readonly #places: VaultPlaces;
  readonly #policy: Policy;
  readonly #options: SealableOptions;
  readonly #vaultOptions: VaultOptions;
  readonly #turns = new Mutex();
  readonly #patience = new Patience();
  readonly #listeners = new Set<(vmId: string | undefined) => void>();
  /** VMs that were seen to boot while it was sealed: their claims are void before any guest is heard again. */
  readonly #booted = new Map<string, Caller>();
  /** Who was refused while no line could be written. */
  #missed: Missed[] = [];
  #open: Vault | undefined;

  private constructor(store: Store, places: VaultPlaces, policy: Policy, options: SealableOptions) {
    this.#store = store;
    this.#places = places;
    this.#policy = policy;
    this.#options = options;
    this.#vaultOptions = { ...options.vault, clock: new Clock((line) => options.report(line)) };
    this.vault = {
      ...forwarded(() => this.#opened()),
      allow: async (caller, what, vm) => {
        if (this.#open || what !== "admin.enter") return this.#opened().allow(caller, what, vm);
        this.#authorise(caller, what);
      },
      newGeneration: async (caller, vmId) => {
        if (this.#open) return this.#open.newGeneration(caller, vmId);
        this.#booted.set(vmId, caller);
      },
      watch: (listener) => {
        this.#listeners.add(listener);
        return () => void this.#listeners.delete(listener);
      },
      close: () => this.#close(),
    };
  }

  /** Throws as `openVault` does; sealed as well where nothing but a person could open the keys, and none can be asked. */
  static async open(
    store: Store,
    places: VaultPlaces,
    policy: Policy,
    options: SealableOptions,
  ): Promise<SealableVault> {
    const made = new SealableVault(store, places, policy, options);
    const file = await readKeyring(places.keyring);
    if (options.sealed === true && !file) {
      throw new HatchwayError("invalid", "there are no keys yet that could be sealed", {
        hint: "make them with: hatchway key init",
      });
    }
    const waits = file !== undefined && (await needsPerson(file.body.ways, places));
    if (options.sealed !== true && !waits) made.#use(await openVault(lent(store), places, policy, made.#vaultOptions));
    return made;
  }

  get isSealed(): boolean {
    return this.#open === undefined;
  }

  seal(caller: Caller): Promise<void> {
    return this.#turns.run("lid", async () => {
      const vault = this.#opened();
      await vault.keys.mark(caller, "key.seal");
      this.#open = undefined;
      // Whoever waits for a change is told that it will not come.
      this.#changed(undefined);
      try {
        await vault.close();
      } catch (error) {
        // The keys are wiped all the same. What the disk did not take, the next unseal finds out as a start does.
        this.#options.report(`while it was sealed: ${toHatchwayError(error).message}`);
      }
      collectGarbage();
      this.#options.report(`the keys are sealed by ${describeCaller(caller)}; ${UNSEAL_HINT}`);
    });
  }

  unseal(caller: Caller, given: Opener | undefined): Promise<{ way: string }> {
    return this.#turns.run("lid", async () => {
      if (this.#open) throw new HatchwayError("conflict", "the keys are open already");
      this.#authorise(caller, "key.unseal");
      const who = caller.kind === "unix" ? `uid ${caller.uid}` : describeCaller(caller);
      this.#patience.check(who);
      const began = performance.now();
      const vault = await this.#tryOpen(caller, given).catch((thrown: unknown) => {
        const error = toHatchwayError(thrown);
        if (error.code !== "wrong-key") throw error;
        if (!given) throw new HatchwayError("wrong-key", error.message, { hint: BRING_HINT, cause: error });
        this.#patience.wrong(who);
        throw error;
      });
      const way = vault.keys.openedBy;
      this.#patience.right();
      this.#use(vault);
      this.#changed(undefined);
      const took = Math.round(performance.now() - began);
      this.#options.report(`the keys were opened by the way "${way}" in ${took} ms, for ${describeCaller(caller)}`);
      await this.#options.unsealed();
      return { way };
    });
  }

  async status(caller: Caller): Promise<KeysStatus> {
    this.#authorise(caller, "key.status");
    const file = await readKeyring(this.#places.keyring);
    if (!file) throw new HatchwayError("corrupt", `there is no keyring "${this.#places.keyring}" any more`);
    const { ways, current, terms } = file.body;
    const counts = await countTerms(this.#store);
    return {
      sealed: true,
      ways: ways.map((way) => describeWay(way, this.#places.keyFile)),
      current,
      terms: terms.map(({ term, created }) => ({
        term,
        created: Date.parse(created),
        rows: counts.get(term) ?? 0,
      })),
    };
  }

  /** Opens another vault, and brings it up to what happened meanwhile before anybody can ask it for something. */
  async #tryOpen(caller: Caller, given: Opener | undefined): Promise<Vault> {
    // Nobody is asked at the daemon's own terminal: who unseals may be elsewhere.
    const { askPassphrase: _, ...places } = this.#places;
    try {
      const vault = await openVault(
        lent(this.#store),
        given ? { ...places, given } : places,
        this.#policy,
        this.#vaultOptions,
      );
      try {
        for (const [vmId, host] of this.#booted) await vault.newGeneration(host, vmId);
        await vault.keys.missed(this.#missed);
        await vault.keys.mark(caller, "key.unseal", vault.keys.openedBy);
      } catch (error) {
        await vault.close();
        throw error;
      }
      this.#booted.clear();
      this.#missed = [];
      return vault;
    } catch (thrown) {
      this.#miss(caller, "key.unseal", toHatchwayError(thrown));
      throw thrown;
    }
  }

  #opened(): Vault {
    if (this.#open) return this.#open;
    throw new HatchwayError("sealed", "the keys are sealed", { hint: UNSEAL_HINT });
  }

  #use(vault: Vault): void {
    this.#open = vault;
    vault.watch((vmId) => this.#changed(vmId));
  }

  #changed(vmId: string | undefined): void {
    for (const listener of this.#listeners) listener(vmId);
  }

  /** As the gate does, but for the line: without a key there is none until it is opened. */
  #authorise(caller: Caller, operation: Missed["operation"]): void {
    try {
      authorise(this.#policy, caller, operation, {});
    } catch (thrown) {
      this.#miss(caller, operation, toHatchwayError(thrown));
      throw thrown;
    }
  }

  #miss(caller: Caller, operation: Missed["operation"], { code, message }: HatchwayError): void {
    this.#options.report(`${operation} of ${describeCaller(caller)} while the keys are sealed: ${message}`);
    if (this.#missed.length < MAX_MISSED) this.#missed.push({ caller, operation, outcome: code });
  }

  #close(): Promise<void> {
    return this.#turns.run("lid", async () => {
      const vault = this.#open;
      this.#open = undefined;
      try {
        await vault?.close();
      } finally {
        await this.#store.close();
      }
    });
  }
}

/** The store for a vault that may close before it. */
function lent(store: Store): Store {
  return {
    epoch: () => store.epoch(),
    revision: () => store.revision(),
    read: (...asked) => store.read(...asked),
    list: (...asked) => store.list(...asked),
    commit: (change) => store.commit(change),
    committed: (opId) => store.committed(opId),
    watch: (...asked) => store.watch(...asked),
    close: async () => undefined,
  };
}
