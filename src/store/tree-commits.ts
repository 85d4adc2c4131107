import type { KeyObject } from "node:crypto";
import { HatchwayError } from "#error";
import type { Change, CommitResult, Store } from "#store";
import type { Changes } from "./tree-changes.ts";
import { decodeRoot, encodeRoot, nodeKey, ROOT_KEY } from "./tree-root.ts";
import { type Entry, markOf, TAMPERED } from "./tree-node.ts";
import { emptyTop, type Tree, type Written } from "./tree.ts";

/** Operations of this process that are remembered. */
const REMEMBERED = 10_000;

/** The row over all rows, as it is stored. */
export interface StoredRoot {
  revision: number;
  /** How often the row was written; 0 where there is none yet. */
  version: number;
  bytes: Buffer | undefined;
}

interface Ticket {
  change: Change;
  resolve: (result: CommitResult) => void;
  reject: (error: unknown) => void;
}

/** A change that was handed to the store and is not acknowledged. */
interface Sent {
  ticket: Ticket;
  root: StoredRoot;
  written: Written;
  change: ReturnType<Changes["add"]>;
  /** `unknown`: it may be done, or be done yet; `refused`: nothing was done, and whoever asked knows that. */
  fate: "pending" | "unknown" | "refused" | { conflict: string };
  /** Resolves once the store has answered: whether the change is done. */
  answered: Promise<boolean>;
}

/**
 * Changes on their way to the store, each with the rows of the tree that it changes. A change is sent before those before
 * it are answered; since each writes the root's next version, one that was not done keeps those after it from being
 * done. They are made again then, over what the store says.
 */
export class TreeCommits {
  readonly #store: Store;
  readonly #key: KeyObject;
  readonly #epoch: Buffer;
  readonly #tree: Tree;
  readonly #changes: Changes;
  /** As the store acknowledged it last; as it will be when all is done that was sent. */
  #acknowledged: StoredRoot;
  #root: StoredRoot;
  #sent: Sent[] = [];
  #waiting: Ticket[] = [];
  readonly #underWay = new Map<string, Promise<CommitResult>>();
  readonly #operations = new Map<string, number>();
  #working: Promise<void> | undefined;
  #recovering: Promise<void> | undefined;
  #broken = false;

  constructor(parts: { store: Store; key: KeyObject; epoch: Buffer; tree: Tree; changes: Changes; root: StoredRoot }) {
    this.#store = parts.store;
    this.#key = parts.key;
    this.#epoch = parts.epoch;
    this.#tree = parts.tree;
    this.#changes = parts.changes;
    this.#root = parts.root;
    this.#acknowledged = parts.root;
  }

  /** As `Store.commit`, of a change within the limits. */
  commit(change: Change): Promise<CommitResult> {
    const { opId } = change;
    const twin = this.#underWay.get(opId);
    if (twin) {
      const copy = copyOf(change);
      const again = (): Promise<CommitResult> => this.commit(copy);
      return twin.then((result) => (result.outcome === "ok" ? result : again()), again);
    }
    const { promise, resolve, reject } = Promise.withResolvers<CommitResult>();
    const ticket: Ticket = {
      change,
      resolve: (result) => {
        this.#underWay.delete(opId);
        resolve(result);
      },
      reject: (error) => {
        this.#underWay.delete(opId);
        reject(error);
      },
    };
    this.#underWay.set(opId, promise);
    if (this.#working || this.#broken || !this.#send(ticket)) {
      ticket.change = copyOf(change);
      this.#waiting.push(ticket);
      this.#work();
    }
    return promise;
  }

  /** As `Store.committed`. What this process did, it knows; of others it knows what the store says. */
  async committed(opId: string): Promise<number | undefined> {
    if (this.#underWay.has(opId)) {
      throw new HatchwayError("unavailable", `operation "${opId}" is under way`);
    }
    if (this.#sent.some(({ ticket, fate }) => ticket.change.opId === opId && fate === "unknown")) {
      await this.#recover();
      return this.#operations.get(opId);
    }
    return this.#operations.get(opId) ?? this.#store.committed(opId);
  }

  /** Resolves once everything was handed to the store. */
  async idle(): Promise<void> {
    while (this.#working) await this.#working;
  }

  #work(): void {
    this.#working ??= this.#workOff().finally(() => {
      this.#working = undefined;
      if (this.#waiting.length > 0) this.#work();
    });
  }

  async #workOff(): Promise<void> {
    for (let ticket = this.#waiting[0]; ticket; ticket = this.#waiting[0]) {
      try {
        if (this.#broken) await this.#recover();
        else if (this.#send(ticket)) this.#waiting.shift();
        else await this.#tree.reach(keysOf(ticket.change));
      } catch (error) {
        this.#waiting.shift();
        ticket.reject(error);
      }
    }
  }

  /** Answers it at once, or hands it to the store; false where nodes of the tree must be read first. */
  #send(ticket: Ticket): boolean {
    const { opId, put, delete: gone } = ticket.change;
    const done = this.#operations.get(opId);
    if (done !== undefined) {
      ticket.resolve({ outcome: "ok", revision: done });
      return true;
    }
    if (!this.#tree.has(keysOf(ticket.change))) return false;
    const conflict = this.#conflict(ticket.change);
    if (conflict !== undefined) {
      this.#refuse(ticket, conflict);
      return true;
    }
    const before = new Map<string, Entry | undefined>();
    const after = new Map<string, Entry | undefined>();
    const puts = put.map(({ key, bytes }) => {
      const entry = this.#tree.entry(key);
      const version = (entry?.version ?? 0) + 1;
      before.set(key, entry);
      after.set(key, { version, mark: markOf(bytes) });
      return { key, version, bytes };
    });
    for (const { key } of gone) {
      before.set(key, this.#tree.entry(key));
      after.set(key, undefined);
    }
    const written = this.#tree.write(after);
    const revision = this.#root.revision + 1;
    const bytes = encodeRoot(this.#key, this.#epoch, { revision, ...this.#tree.top });
    const root = { revision, version: this.#root.version + 1, bytes };
    const nodes = written.nodes.map((node) => ({ key: nodeKey(node.id), bytes: node.bytes }));
    this.#root = root;
    // The root first: a store looks at it first, so that a conflict with it means a change before this one.
    const result = this.#store.commit({
      opId,
      expect: [],
      put: [{ key: ROOT_KEY, version: root.version, bytes }, ...puts, ...nodes],
      delete: gone,
    });
    const sent: Sent = {
      ticket,
      root,
      written,
      change: this.#changes.add(before),
      fate: "pending",
      answered: result.then(
        (answer) => this.#answered(sent, answer),
        (error: unknown) => this.#failed(sent, error),
      ),
    };
    this.#sent.push(sent);
    return true;
  }

  #conflict({ expect, put, delete: gone }: Change): string | undefined {
    const now = (key: string): number => this.#tree.entry(key)?.version ?? 0;
    for (const { key, version } of expect) if (now(key) !== version) return key;
    for (const { key, version } of put) if (version !== undefined && now(key) !== version - 1) return key;
    for (const { key, version } of gone) if (now(key) !== version) return key;
    return undefined;
  }

  /** A conflict with a change that is not done yet is one only once that is done. */
  #refuse(ticket: Ticket, key: string): void {
    const last = this.#sent.at(-1);
    if (!last) return ticket.resolve({ outcome: "conflict", key });
    ticket.change = copyOf(ticket.change);
    void this.#refuseAfter(last, ticket, key);
  }

  async #refuseAfter({ answered }: Sent, ticket: Ticket, key: string): Promise<void> {
    if (await answered) return ticket.resolve({ outcome: "conflict", key });
    this.#waiting.push(ticket);
    this.#work();
  }

  #answered(sent: Sent, result: CommitResult): boolean {
    const { ticket, root } = sent;
    if (result.outcome === "ok" && result.revision === root.revision) {
      // It could not be done unless those before it were.
      const at = this.#sent.indexOf(sent);
      for (const done of this.#sent.splice(0, at + 1)) this.#done(done);
      return true;
    }
    this.#broken = true;
    if (result.outcome === "unknown") {
      sent.fate = "unknown";
      ticket.resolve(result);
    } else if (result.outcome === "conflict") {
      sent.fate = { conflict: result.key };
      this.#waiting.push(ticket);
      this.#work();
    } else {
      sent.fate = "refused";
      const problem = `the store is at revision ${result.revision}, and should be at ${root.revision}`;
      ticket.reject(new HatchwayError("corrupt", problem, { hint: TAMPERED }));
    }
    return false;
  }

  #failed(sent: Sent, error: unknown): boolean {
    this.#broken = true;
    sent.fate = "refused";
    sent.ticket.reject(error);
    return false;
  }

  #done({ ticket, root, written, change }: Sent): void {
    this.#acknowledged = root;
    this.#tree.stored(written);
    this.#changes.acknowledge(change);
    this.#operations.set(ticket.change.opId, root.revision);
    if (this.#operations.size > REMEMBERED) {
      for (const oldest of this.#operations.keys()) {
        this.#operations.delete(oldest);
        break;
      }
    }
    ticket.resolve({ outcome: "ok", revision: root.revision });
  }

  #recover(): Promise<void> {
    this.#recovering ??= this.#learn().finally(() => {
      this.#recovering = undefined;
    });
    return this.#recovering;
  }

  /**
   * Learns from the store's root which of the changes that were sent are done, and goes on from there. Throws "unavailable"
   * as long as one may be done yet, "corrupt" if the root is none that was sent.
   */
  async #learn(): Promise<void> {
    for (let at = 0; at < this.#sent.length; at += 1) await this.#sent[at]?.answered;
    for (const { ticket, fate } of this.#sent) if (fate === "unknown") await this.#store.committed(ticket.change.opId);
    const { rows } = await this.#store.read([ROOT_KEY]);
    const bytes = rows[0]?.bytes;
    const done = this.#sent.findIndex(({ root }) => bytes && root.bytes?.equals(bytes));
    if (done < 0 && !sameBytes(bytes, this.#acknowledged.bytes)) {
      const problem = "the root of the store's tree is not what was last written";
      throw new HatchwayError("corrupt", problem, { hint: TAMPERED });
    }
    for (const sent of this.#sent.splice(0, done + 1)) this.#done(sent);
    const base = this.#acknowledged;
    // Refused over the very root that there is: a row is not what the tree says, or the store has reasons of its own.
    const [first] = this.#sent;
    if (first && typeof first.fate === "object") this.#contradicted(first.ticket, first.fate.conflict);
    this.#sent = [];
    this.#changes.drop();
    const beside = this.#tree.top.beside.keys();
    this.#tree.reset(base.bytes ? decodeRoot(this.#key, this.#epoch, base.bytes, beside) : emptyTop(beside));
    this.#root = { ...base, version: rows[0]?.version ?? 0 };
    this.#broken = false;
  }

  #contradicted(ticket: Ticket, key: string): void {
    this.#waiting = this.#waiting.filter((other) => other !== ticket);
    if (key === ROOT_KEY) {
      const named = ticket.change.expect[0] ?? ticket.change.put[0] ?? ticket.change.delete[0];
      return ticket.resolve({ outcome: "conflict", key: named?.key ?? key });
    }
    const problem = `row "${key}" is not of the version that was last written`;
    ticket.reject(new HatchwayError("corrupt", problem, { hint: TAMPERED }));
  }
}

function sameBytes(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one && other ? one.equals(other) : one === other;
}

function keysOf({ expect, put, delete: gone }: Change): string[] {
  return [...expect, ...put, ...gone].map(({ key }) => key);
}

/** The caller may wipe its bytes as soon as `commit` has returned. */
function copyOf(change: Change): Change {
  return { ...change, put: change.put.map((put) => ({ ...put, bytes: Buffer.from(put.bytes) })) };
}
