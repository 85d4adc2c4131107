// Units that are told when a secret of theirs is another: the versions in force before, beside those after.
import { reason } from "./error.ts";
import { runSystemctl } from "./onchange.ts";
import { readPolicy, type Policy, type UnitAction } from "./policy.ts";
import type { Root } from "./root.ts";
import { readSet } from "./set.ts";
import { failedWith, type Fd, type Sys } from "./sys.ts";

/** The version of each secret that is there. */
type Versions = ReadonlyMap<string, number>;

/** systemctl(1): both do nothing to a unit that does not run, and either way the credentials of a started unit are new. */
const VERBS: Record<UnitAction, string> = { reload: "try-reload-or-restart", restart: "try-restart" };

export class UnitWatch {
  /** Readable once the set may be another. */
  readonly fd: Fd;
  readonly #sys: Sys;
  readonly #root: Root;
  readonly #log: (line: string) => void;
  #versions: Versions | undefined;

  constructor(sys: Sys, root: Root, log: (line: string) => void) {
    this.#sys = sys;
    this.#root = root;
    this.#log = log;
    // Before the set is read: a change in between is looked at once more.
    this.fd = sys.watch(root.path);
    this.#versions = this.#read();
  }

  /** Tells the units of the policy whose secrets have changed since the last look. What fails is said, and left. */
  look(policyPath: string): void {
    this.#drain();
    try {
      const before = this.#versions;
      this.#versions = this.#read();
      if (!before || !this.#versions) return;
      const changed = changedSecrets(before, this.#versions);
      if (changed.size === 0) return;
      for (const { unit, action } of actionsFor(readPolicy(this.#sys, policyPath), changed)) this.#tell(unit, action);
    } catch (error) {
      this.#log(`cannot tell units of a change: ${reason(error)}`);
    }
  }

  /** Without waiting: what is started asks this very process for its credentials. */
  #tell(unit: string, action: UnitAction): void {
    try {
      runSystemctl(this.#sys, ["--no-block", VERBS[action], unit]);
      this.#log(`a secret of "${unit}" has changed: ${action}`);
    } catch (error) {
      this.#log(`a secret of "${unit}" has changed: ${reason(error)}`);
    }
  }

  #read(): Versions | undefined {
    return readSet(this.#sys, this.#root, ({ manifest, refused }) => {
      const absent = new Set(refused.map(({ name }) => name));
      return new Map(
        manifest.entries.filter(({ name }) => !absent.has(name)).map(({ name, version }) => [name, version]),
      );
    });
  }

  #drain(): void {
    const events = new Uint8Array(4096);
    try {
      while (this.#sys.read(this.fd, events) > 0);
    } catch (error) {
      if (!failedWith(error, "EAGAIN")) throw error;
    }
  }
}

/** Those that are new or another version; who loses one keeps what it was started with. */
function changedSecrets(before: Versions, after: Versions): ReadonlySet<string> {
  return new Set([...after].filter(([name, version]) => before.get(name) !== version).map(([name]) => name));
}

/** Each unit that asks for something and may have one of these; for a template, the pattern of all its instances. */
export function actionsFor(policy: Policy, changed: ReadonlySet<string>): { unit: string; action: UnitAction }[] {
  return [...policy].flatMap(([unit, { secrets, onChange }]) =>
    onChange !== undefined && [...secrets.values()].some((secret) => changed.has(secret))
      ? [{ unit: unit.replace(/@(\.[a-z]+)$/, "@*$1"), action: onChange }]
      : [],
  );
}
