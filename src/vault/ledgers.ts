import { hash, timingSafeEqual } from "node:crypto";
import { HatchwayError } from "#error";
import type { Alarm, Convergence, Enrolment, Receipt } from "#vm";
import type { ReceiptClaim } from "#vault";
import { Allowance } from "#vault/allowance";
import type { Gate } from "#vault/gate";
import { Mutex } from "#mutex";
import type { EnrolmentRecord, LedgerRecord } from "#vault/records";
import type { Rows, Stored } from "#vault/rows";

/** A revision as it is made of its parts: `EPOCH.GENERATION.COUNTER`. To the guest it is opaque. */
export interface Revision {
  generation: number;
  counter: number;
}

/** Milliseconds between two alarms of a kind that are kept. */
const ALARM_INTERVAL = 1_000;
/** Values that leave for a VM, each a line of the audit: four of the largest bundles at once, then ten a second. */
const DISCLOSURES = { burst: 16_384, perSecond: 10 };
/** What all VMs together may use beyond theirs: about 350 MB of audit at once, and 6 GB a day. */
const SPARE_DISCLOSURES = { burst: 1_048_576, perSecond: 200 };
/** Receipts that bring no newer revision, each a write to the disk. */
const REPEATED_RECEIPTS = { burst: 16, perSecond: 1 };
const MAX_REFUSED = 32;
const MAX_REASON = 120;

/**
 * What the host knows of each VM's boots, revisions and receipts. A guest's word is believed only where it cannot do
 * harm: it may say less than is true, never more.
 */
export class Ledgers {
  readonly #gate: Gate;
  readonly #rows: Rows;
  /** 16 hex digits of the store's epoch: no revision outlives a restore. */
  readonly #epoch: string;
  readonly #mutex = new Mutex();
  /** Milliseconds since 1970; kept in memory, and in the record with each receipt. */
  readonly #contacts = new Map<string, number>();
  /** Which VMs enrol, as their records said last: each request asks, and no other process writes them. */
  readonly #enrols = new Map<string, boolean>();
  /** When each kind of alarm was last kept, by `performance.now()`. */
  readonly #alarmed = new Map<string, number>();
  readonly #disclosures = new Allowance(DISCLOSURES.burst, DISCLOSURES.perSecond);
  readonly #spareDisclosures = new Allowance(SPARE_DISCLOSURES.burst, SPARE_DISCLOSURES.perSecond);
  readonly #repeatedReceipts = new Allowance(REPEATED_RECEIPTS.burst, REPEATED_RECEIPTS.perSecond);

  constructor(gate: Gate, rows: Rows, epoch: Buffer) {
    this.#gate = gate;
    this.#rows = rows;
    this.#epoch = epoch.toString("hex").slice(0, 16);
  }

  static initial(vmName: string): LedgerRecord {
    return { vmName, generation: 1, counter: 0, digest: "", entries: {}, disclosed: 0, alarms: [] };
  }

  static key(vmId: string): string {
    return `ledger:${vmId}`;
  }

  encodeRevision({ generation, counter }: Revision): string {
    return `${this.#epoch}.${generation}.${counter}`;
  }

  /** Undefined for a revision of another epoch, or what is none. */
  decodeRevision(revision: string): Revision | undefined {
    const parts = /^([0-9a-f]{16})\.([1-9][0-9]{0,14})\.([1-9][0-9]{0,14})$/.exec(revision);
    if (parts?.[1] !== this.#epoch) return undefined;
    return { generation: Number(parts[2]), counter: Number(parts[3]) };
  }

  async get(vmId: string): Promise<LedgerRecord> {
    return (await this.#read(vmId)).record;
  }

  /** Changes a ledger as `change` says, one change of a VM after the other; undefined leaves it. */
  async update(vmId: string, change: (record: LedgerRecord) => LedgerRecord | undefined): Promise<LedgerRecord> {
    return this.#mutex.run(vmId, () =>
      this.#gate.retry(async () => {
        const stored = await this.#read(vmId);
        const next = change(stored.record);
        if (!next) return stored.record;
        await this.#gate.keep({ put: [this.#rows.put(stored.key, next, stored)] });
        this.#enrols.set(vmId, next.enrolment !== undefined);
        return next;
      }),
    );
  }

  /** Whether this VM enrols, so that no first claim and no device of root's is enough. */
  async enrols(vmId: string): Promise<boolean> {
    return this.#enrols.get(vmId) ?? (await this.get(vmId)).enrolment !== undefined;
  }

  /** The guest asked for something. */
  contact(vmId: string): void {
    this.#contacts.set(vmId, this.#gate.now());
  }

  forget(vmId: string): void {
    this.#contacts.delete(vmId);
    this.#enrols.delete(vmId);
    this.#disclosures.forget(vmId);
    this.#repeatedReceipts.forget(vmId);
    for (const key of this.#alarmed.keys()) if (key.startsWith(`${vmId} `)) this.#alarmed.delete(key);
  }

  async convergence(vmId: string): Promise<Convergence> {
    const { generation, counter, disclosed, applied, claim, enrolment, alarms } = await this.get(vmId);
    const lastContact = this.#contacts.get(vmId) ?? applied?.at;
    return {
      generation,
      wanted: counter,
      disclosed,
      claimed: claim !== undefined,
      alarms,
      ...(applied && { applied }),
      ...(enrolment && { enrolment: describeEnrolment(enrolment) }),
      ...(lastContact !== undefined && { lastContact }),
    };
  }

  /** Whether nothing was claimed or disclosed since the last boot that counted. */
  async isUntouched(vmId: string): Promise<boolean> {
    return isUntouched(await this.get(vmId));
  }

  /** A boot that the host saw: nothing that an earlier one claimed or applied counts any more. */
  async newGeneration(vmId: string): Promise<void> {
    await this.update(vmId, (record) => {
      if (isUntouched(record)) return undefined;
      const { vmName, generation, counter, digest, entries, alarms } = record;
      const enrolment = record.enrolment && nextBoot(record.enrolment);
      const next = { vmName, generation: generation + 1, counter, digest, entries, disclosed: 0, alarms };
      return enrolment ? { ...next, enrolment } : next;
    });
  }

  /**
   * Throws "unavailable", and raises an alarm, when more values leave for the VM than any guest needs. One that reads
   * much takes from what is there for all; what is a VM's own no other one can use up.
   */
  async allowDisclosure(vmId: string, values: number): Promise<void> {
    if (this.#disclosures.take(vmId, values) || this.#spareDisclosures.take("all", values)) return;
    await this.alarm(vmId, "too many requests");
    throw new HatchwayError("unavailable", "this vm asks for its secrets too often: wait before asking again");
  }

  async disclosed(vmId: string, generation: number, counter: number): Promise<void> {
    const isNew = (record: LedgerRecord): boolean => record.generation === generation && counter > record.disclosed;
    if (!isNew(await this.get(vmId))) return;
    await this.update(vmId, (record) => (isNew(record) ? { ...record, disclosed: counter } : undefined));
  }

  /** Whether this generation is claimed, and by whom as seen from `key`. */
  async claimant(vmId: string, key: Buffer): Promise<"nobody" | "same" | "another"> {
    const { claim } = await this.get(vmId);
    if (claim === undefined) return "nobody";
    return sameDigest(claim, sha256(key)) ? "same" : "another";
  }

  /** The first key of a generation takes the claim. Says whether `key` has it now. */
  async claim(vmId: string, key: Buffer): Promise<boolean> {
    const digest = sha256(key);
    const record = await this.update(vmId, (before) =>
      before.claim === undefined ? { ...before, claim: digest } : undefined,
    );
    return sameDigest(record.claim ?? "", digest);
  }

  /** Says whether it was kept: a guest that misbehaves all the time costs a write every ALARM_INTERVAL, not each time. */
  async alarm(vmId: string, what: Alarm["what"]): Promise<boolean> {
    const key = `${vmId} ${what}`;
    const now = performance.now();
    if (now - (this.#alarmed.get(key) ?? -Infinity) < ALARM_INTERVAL) return false;
    this.#alarmed.set(key, now);
    await this.update(vmId, (record) => {
      const before = record.alarms.find((alarm) => alarm.what === what);
      const others = record.alarms.filter((alarm) => alarm !== before);
      return { ...record, alarms: [...others, { what, at: this.#gate.now(), count: (before?.count ?? 0) + 1 }] };
    });
    return true;
  }

  /** Keeps a receipt if it can be true; throws "invalid" if it cannot. */
  async receive(vmId: string, revision: string, claim: ReceiptClaim): Promise<void> {
    const said = this.decodeRevision(revision);
    const record = await this.get(vmId);
    if (!said || said.generation !== record.generation || said.counter > record.disclosed) {
      await this.alarm(vmId, "receipt for a revision that was not disclosed");
      throw new HatchwayError("invalid", "a receipt for a revision that this boot was not given");
    }
    if (said.counter <= (record.applied?.counter ?? 0) && !this.#repeatedReceipts.take(vmId, 1)) {
      await this.alarm(vmId, "too many requests");
      throw new HatchwayError("unavailable", "too many receipts: wait before sending another");
    }
    const receipt: Receipt = {
      counter: said.counter,
      outcome: claim.outcome,
      at: this.#gate.now(),
      refused: claim.refused.slice(0, MAX_REFUSED).map(({ name, reason }) => ({
        name: printable(name, 100),
        reason: printable(reason, MAX_REASON),
      })),
      mount: printable(claim.mount, 32),
      agent: printable(claim.agent, 32),
    };
    await this.update(vmId, (before) => {
      const stale = before.generation !== said.generation || said.counter < (before.applied?.counter ?? 0);
      return stale ? undefined : { ...before, applied: receipt };
    });
  }

  /** Keeps that a person brought `revision` into the guest; throws "invalid" if that cannot be. */
  async pushed(vmId: string, revision: string, mount: string): Promise<void> {
    const said = this.decodeRevision(revision);
    await this.update(vmId, (record) => {
      const { generation, counter, applied, disclosed } = record;
      if (said?.generation !== generation || said.counter > counter || said.counter < (applied?.counter ?? 0)) {
        throw new HatchwayError(
          "invalid",
          "a push of a revision that this vm was not to have in this boot, or has passed",
        );
      }
      const receipt: Receipt = {
        counter: said.counter,
        outcome: "applied",
        at: this.#gate.now(),
        refused: [],
        mount: printable(mount, 32),
        agent: "pushed by ssh",
      };
      return { ...record, applied: receipt, disclosed: Math.max(disclosed, said.counter) };
    });
  }

  async #read(vmId: string): Promise<Stored<LedgerRecord>> {
    const stored = await this.#rows.get<LedgerRecord>(Ledgers.key(vmId));
    if (!stored) throw new HatchwayError("not-found", "there is no such vm any more");
    // A VM that enrols does so until it is removed: a read that was overtaken by a write says nothing else.
    if (stored.record.enrolment || !this.#enrols.has(vmId))
      this.#enrols.set(vmId, stored.record.enrolment !== undefined);
    return stored;
  }
}

function isUntouched({ claim, disclosed }: LedgerRecord): boolean {
  return claim === undefined && disclosed === 0;
}

/** A token that nobody has used stays as it is, whatever boots until then. */
function nextBoot({ id, reboots, owner, spent }: EnrolmentRecord): EnrolmentRecord {
  if (owner === undefined) return { id, reboots, ...(spent && { spent }) };
  return reboots > 0 ? { id, reboots: reboots - 1 } : { id, reboots, spent: true };
}

function describeEnrolment({ owner, spent, reboots }: EnrolmentRecord): Enrolment {
  return { state: spent === true ? "spent" : owner === undefined ? "waiting" : "enrolled", reboots };
}

function sha256(key: Buffer): string {
  return hash("sha256", key, "hex");
}

function sameDigest(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

function printable(text: string, limit: number): string {
  return text.replaceAll(/[^\u0020-\u007e]/g, "?").slice(0, limit);
}
