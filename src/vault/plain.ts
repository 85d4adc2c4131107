import { timingSafeEqual } from "node:crypto";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import type { Binding, PlainSide } from "#mirror";
import type { Gate } from "#vault/gate";
import type { Rows, Stored } from "#vault/rows";
import type { Secrets } from "#vault/secrets";

const FOLDER = "folder";

/** What a plain folder of secrets needs, at the gate. */
export class Plain implements PlainSide {
  readonly #gate: Gate;
  readonly #rows: Rows;
  readonly #secrets: Secrets;

  constructor(gate: Gate, rows: Rows, secrets: Secrets) {
    this.#gate = gate;
    this.#rows = rows;
    this.#secrets = secrets;
  }

  holds(caller: Caller, name: string, value: Buffer): Promise<boolean> {
    return this.#gate.read(caller, "secret.compare", { secret: name }, async () => {
      const { newest } = await this.#newest(name);
      try {
        return newest.length === value.length && timingSafeEqual(newest, value);
      } finally {
        newest.fill(0);
      }
    });
  }

  /** A change without writes: its intent is on disk before the value is opened. */
  export(caller: Caller, name: string): Promise<Buffer> {
    return this.#gate.mutate(caller, "secret.export", { secret: name }, async (commit) => {
      const { newest, version } = await this.#newest(name);
      try {
        await commit({});
      } catch (error) {
        newest.fill(0);
        throw error;
      }
      return { result: newest, subject: { version } };
    });
  }

  async binding(): Promise<Binding | undefined> {
    return (await this.#row())?.record;
  }

  bind(caller: Caller, binding: Binding | undefined): Promise<void> {
    return this.#gate.mutate(caller, "store.bind", {}, async (commit) => {
      const stored = await this.#row();
      if (binding) await commit({ put: [this.#rows.put(FOLDER, binding, stored)] });
      else await commit({ delete: stored ? [{ key: FOLDER, version: stored.version }] : [] });
      return { result: undefined };
    });
  }

  #row(): Promise<Stored<Binding> | undefined> {
    return this.#rows.get<Binding>(FOLDER);
  }

  async #newest(name: string): Promise<{ newest: Buffer; version: number }> {
    const { id, version } = (await this.#secrets.find(name)).record;
    const newest = await this.#rows.value(id, version);
    if (newest) return { newest, version };
    throw new HatchwayError("corrupt", `version ${version} of secret "${name}" is not in the store`);
  }
}
