// One synchronisation: ask, install, act on the change, report.
import type { Manifest } from "#protocol/manifest";
import { ProtocolError } from "#protocol/error";
import { AgentError, isFault, reason } from "./error.ts";
import { Installation } from "./install.ts";
import { linkEnvironment, updateLinks } from "./link.ts";
import type { Origin } from "./origin.ts";
import { actOnChange, changedEntries } from "./onchange.ts";
import { Owners } from "./owner.ts";
import { AGENT_VERSION, type Receipt, type Refusal } from "./receipt.ts";
import { retire, retirePushed } from "./retire.ts";
import type { Root } from "./root.ts";
import { isWhole, openSet, type CurrentSet } from "./set.ts";
import { HERE, SysError, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { readFile } from "./tree.ts";

/** What is in force after a synchronisation. */
export interface InForce {
  revision: string;
  secrets: number;
  refused: readonly Refusal[];
  /** Whether this synchronisation put it there. */
  fresh: boolean;
}

export interface Ask {
  /** How long the host may hold its answer back while nothing has changed, in seconds. */
  wait: number;
  /** Whether entries that were refused before are asked for again. */
  retryRefused: boolean;
}

export class Synchroniser {
  readonly #sys: Sys;
  readonly #root: Root;
  readonly #host: Origin;
  readonly #log: (line: string) => void;
  readonly #boot: string;
  /** What the host has not been told yet. */
  #owed: { revision: string; receipt: Receipt } | undefined;
  #started = false;

  constructor(sys: Sys, root: Root, host: Origin, log: (line: string) => void) {
    this.#sys = sys;
    this.#root = root;
    this.#host = host;
    this.#log = log;
    this.#boot = decodeUtf8(readFile(sys, HERE, "/proc/sys/kernel/random/boot_id", 64)).trim();
  }

  /** Throws AgentError; the set in force is then the one before. */
  synchronise(ask: Ask): InForce {
    const owners = new Owners(this.#sys);
    const old = this.#openSet();
    try {
      this.#reportAtStart(old);
      this.#payReceipt();
      const whole = old !== undefined && isWhole(this.#sys, old, owners);
      const again = ask.retryRefused && old !== undefined && old.refused.length > 0;
      const have = whole && !again ? old.manifest.revision : undefined;
      return (
        this.#fetch(owners, old, have, ask.wait) ?? this.#fetch(owners, old, undefined, 0) ?? unfinished(this.#host)
      );
    } finally {
      if (old) this.#sys.close(old.fd);
    }
  }

  /** Undefined when the answer left out a value that is not here: then everything must be asked for. */
  #fetch(owners: Owners, old: CurrentSet | undefined, have: string | undefined, wait: number): InForce | undefined {
    const installation = new Installation(this.#sys, this.#root, owners, old);
    let committed = false;
    try {
      if (this.#host.bundle(have, wait, installation) === "same") return unchanged(this.#host, old);
      if (installation.complete().length > 0) return undefined;
      const manifest = installation.offered;
      if (!manifest) return unfinished(this.#host);
      const retired = installation.commit();
      committed = true;
      return this.#afterCommit(old?.manifest, manifest, installation.refused, retired);
    } catch (cause) {
      if (committed || !(cause instanceof SysError)) throw cause;
      const problem = `cannot install the bundle: ${cause.message}`;
      if (installation.offered) this.#report(installation.offered.revision, "failed", [{ name: "*", reason: problem }]);
      throw new AgentError("install", problem, { cause });
    } finally {
      if (!committed) installation.abandon();
    }
  }

  #afterCommit(
    before: Manifest | undefined,
    manifest: Manifest,
    refused: readonly Refusal[],
    retired: string | undefined,
  ): InForce {
    const absent = new Set(refused.map(({ name }) => name));
    const links = this.#link(manifest, absent);
    const changed = before ? changedEntries(before, manifest).filter(({ name }) => !absent.has(name)) : [];
    const all = [...refused, ...links, ...actOnChange(this.#sys, changed)];
    this.#report(manifest.revision, "applied", all);
    if (retired !== undefined) {
      retire(this.#sys, this.#root.agent, retired);
      retirePushed(this.#sys, this.#root.fd);
    }
    return { revision: manifest.revision, secrets: manifest.entries.length - absent.size, refused: all, fresh: true };
  }

  /** The set is in force already: what goes wrong with links is reported, and keeps nothing else from being done. */
  #link(manifest: Manifest, absent: ReadonlySet<string>): Refusal[] {
    try {
      linkEnvironment(this.#sys, this.#root);
      return updateLinks(this.#sys, this.#root, manifest, absent);
    } catch (error) {
      return [{ name: "*", reason: `cannot make links: ${asFault(error).message}` }];
    }
  }

  /** A set that is not as this agent makes them is replaced, not trusted. */
  #openSet(): CurrentSet | undefined {
    try {
      return openSet(this.#sys, this.#root);
    } catch (error) {
      if (!isFault(error, "machine")) throw error;
      this.#log(`${error.message}; it will be replaced`);
      return undefined;
    }
  }

  /** An agent that was killed between exchange and receipt still owes it: each one reports what it finds. */
  #reportAtStart(old: CurrentSet | undefined): void {
    if (this.#started) return;
    this.#started = true;
    if (old) this.#owe(old.manifest.revision, "applied", old.refused);
  }

  #owe(revision: string, outcome: Receipt["outcome"], refused: readonly Refusal[]): void {
    const receipt = { outcome, refused, mount: this.#root.memory, agent: AGENT_VERSION, boot: this.#boot };
    this.#owed = { revision, receipt };
  }

  /** A receipt that does not get through is kept for the next synchronisation, and changes nothing about this one. */
  #report(revision: string, outcome: Receipt["outcome"], refused: readonly Refusal[]): void {
    this.#owe(revision, outcome, refused);
    try {
      this.#payReceipt();
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      this.#log(`receipt for revision "${revision}" not delivered yet: ${reason(error)}`);
    }
  }

  #payReceipt(): void {
    if (!this.#owed) return;
    const { revision, receipt } = this.#owed;
    try {
      this.#host.receipt(revision, receipt);
    } catch (error) {
      // The host does not want it: it was for an earlier generation of this VM.
      if (!isFault(error, "host-answer")) throw error;
      this.#log(error.message);
    }
    this.#owed = undefined;
  }
}

function unchanged(host: Origin, old: CurrentSet | undefined): InForce {
  if (!old) return unfinished(host);
  const { manifest, refused } = old;
  return { revision: manifest.revision, secrets: manifest.entries.length - refused.length, refused, fresh: false };
}

function unfinished(host: Origin): never {
  host.close();
  throw new AgentError("host-answer", "the host's answer leaves out values that this guest does not have");
}

/** What the host said broke the protocol, as one kind of fault. */
export function asFault(error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  if (error instanceof ProtocolError) return new AgentError("host-answer", error.message, { cause: error });
  if (error instanceof SysError) return new AgentError("machine", error.message, { cause: error });
  throw error;
}
