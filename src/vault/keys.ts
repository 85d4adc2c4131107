import type { Caller } from "#caller";
import type { Keys, KeysStatus, NewWay, Way } from "#keys";
import type { Gate } from "#vault/gate";
import type { Keyring } from "#vault/keyring";

/** What may be done with the keys, at the gate. The keyring's file is not the store's, so a commit says only that it was. */
export class KeyOperations implements Keys {
  readonly #gate: Gate;
  readonly #keyring: Keyring;

  constructor(gate: Gate, keyring: Keyring) {
    this.#gate = gate;
    this.#keyring = keyring;
  }

  status(caller: Caller): Promise<KeysStatus> {
    return this.#gate.read(caller, "key.status", {}, async () => this.#keyring.status);
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
}
