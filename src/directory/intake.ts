// From the folder to the vault: what a file says becomes what its secret is.
import { HatchwayError, toHatchwayError } from "#error";
import { secretNameProblem } from "#protocol/names";
import type { Secret } from "#secret";
import { changeOf, looseness } from "./attributes.ts";
import { readEntry, type Entry } from "./entry.ts";
import type { Problems } from "./problems.ts";
import type { Tracked } from "./tracked.ts";
import type { VaultSide } from "./vault-side.ts";

/** What a look at a name came to: its secret is as its file says, or is not yet, or there is no file and a secret. */
export type Looked = "settled" | "later" | "missing";

/** Milliseconds without a change until a file counts as whole, where the file system has no leases. */
const QUIET = 1_000;
/** What the vault refuses for the file's own sake; anything else is tried again. */
const REFUSALS = new Set(["invalid", "too-large", "exists"]);

export class Intake {
  readonly #tracked: Tracked;
  readonly #side: VaultSide;
  readonly #problems: Problems;
  readonly #report: (error: unknown) => void;
  /** By name: since when a file without a lease has had its signature. */
  readonly #quiet = new Map<string, { signature: string; since: number }>();

  constructor(tracked: Tracked, side: VaultSide, problems: Problems, report: (error: unknown) => void) {
    this.#tracked = tracked;
    this.#side = side;
    this.#problems = problems;
    this.#report = report;
  }

  /** Brings the secret of that name to what its file says. Never throws. */
  async look(name: string): Promise<Looked> {
    try {
      return await this.#look(name);
    } catch (error) {
      return this.#fail(name, error);
    }
  }

  /** What is not the file's fault is tried again: a disk that is full, an audit trail that cannot be written. */
  #fail(name: string, thrown: unknown): "later" {
    const { code, message } = toHatchwayError(thrown);
    if (this.#problems.say(name, `cannot be brought in now: ${message}`) && code === "internal") this.#report(thrown);
    return "later";
  }

  async #look(name: string): Promise<Looked> {
    const { changing, known } = this.#tracked;
    if (changing.has(name)) return "later";
    const improper = secretNameProblem(name);
    if (improper !== undefined) {
      const isThere = (await this.#tracked.signature(name)) !== "missing";
      this.#problems.say(name, isThere ? `is ignored: it ${improper}` : undefined);
      return "settled";
    }
    const entry = await readEntry(this.#tracked.pathOf(name));
    const secret = await this.#side.find(name);
    switch (entry.kind) {
      case "written":
        return "later";
      case "missing":
        this.#problems.say(name, undefined);
        if (secret) return "missing";
        known.delete(name);
        return "settled";
      case "refused":
        this.#refuse(name, entry.why, secret);
        known.set(name, entry.signature);
        return "settled";
      case "read":
        try {
          return await this.#take(name, entry, secret);
        } finally {
          entry.value.fill(0);
        }
    }
  }

  /** Takes a secret away whose file is gone. Never throws. */
  async remove(name: string): Promise<Looked> {
    const { importing, known } = this.#tracked;
    importing.set(name, "missing");
    try {
      await this.#side.vault.removeSecret(this.#side.callerOf(name), name);
      known.delete(name);
      return "settled";
    } catch (error) {
      const { code } = toHatchwayError(error);
      if (code === "not-found") return "settled";
      return code === "conflict" ? "later" : this.#fail(name, error);
    } finally {
      importing.delete(name);
    }
  }

  async #take(name: string, entry: Entry & { kind: "read" }, secret: Secret | undefined): Promise<Looked> {
    const { value, attributes, signature, leased } = entry;
    if (!leased && !this.#isQuiet(name, signature)) return "later";
    const { known, importing, maker } = this.#tracked;
    const delivery = changeOf(attributes, secret?.delivery, maker);
    const isSame = secret?.size === value.length && (await this.#side.holds(name, value));
    if (!isSame || delivery) {
      importing.set(name, signature);
      try {
        await this.#side.vault.putSecret(this.#side.callerOf(name), name, "set", {
          ...(!isSame && { value }),
          ...(delivery && { delivery }),
        });
      } catch (error) {
        if (!(error instanceof HatchwayError)) throw error;
        // It was changed again meanwhile, by hand or by the API.
        if (error.code === "conflict") return "later";
        if (!REFUSALS.has(error.code)) throw error;
        this.#refuse(name, error.message, secret);
        known.set(name, signature);
        return "settled";
      } finally {
        importing.delete(name);
      }
    }
    known.set(name, signature);
    this.#problems.say(name, looseness(attributes));
    return "settled";
  }

  #refuse(name: string, why: string, secret: Secret | undefined): void {
    const kept = secret ? `; secret "${name}" stays at version ${secret.version}` : "";
    this.#problems.say(name, `is refused: it ${why}${kept}`);
  }

  #isQuiet(name: string, signature: string): boolean {
    const before = this.#quiet.get(name);
    if (before?.signature !== signature) this.#quiet.set(name, { signature, since: performance.now() });
    else if (performance.now() - before.since >= QUIET) return this.#quiet.delete(name);
    return false;
  }
}
