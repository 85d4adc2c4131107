import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import type { Secret } from "#secret";
import type { Vault } from "#vault";
import type { Tracked } from "./tracked.ts";

/** The vault as a file of the folder may ask it: each asks for its own secret, and the audit trail says so. */
export class VaultSide {
  readonly vault: Vault;
  readonly #tracked: Tracked;

  constructor(vault: Vault, tracked: Tracked) {
    this.vault = vault;
    this.#tracked = tracked;
  }

  callerOf(name: string): Caller {
    return { kind: "folder", path: this.#tracked.pathOf(name) };
  }

  async find(name: string): Promise<Secret | undefined> {
    try {
      return await this.vault.secret(this.callerOf(name), name);
    } catch (error) {
      // "invalid": whatever it is called, no secret is.
      if (error instanceof HatchwayError && (error.code === "not-found" || error.code === "invalid")) return undefined;
      throw error;
    }
  }

  holds(name: string, value: Buffer): Promise<boolean> {
    return this.vault.plain.holds(this.callerOf(name), name, value);
  }

  /** Of all secrets, sorted. */
  async names(): Promise<string[]> {
    return (await this.vault.secrets({ kind: "folder", path: this.#tracked.folder })).map(({ name }) => name);
  }
}
