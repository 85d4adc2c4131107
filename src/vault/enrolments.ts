// Enrolment, on the host's side (#protocol/enrol). A token is not kept: it comes, with the host's key of that VM and the
// claim that it buys, from the keyring and a random id. What is kept is who has used it.
import {
  createCipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hash,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
  type KeyObject,
} from "node:crypto";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import { encodeEnrolWord, enrolReplyInfo, enrolTranscript } from "#protocol/enrol";
import type { EnrolRequest } from "#vault";
import type { Gate } from "#vault/gate";
import type { Key } from "#vault/envelope";
import type { Ledgers } from "#vault/ledgers";
import type { EnrolmentRecord, LedgerRecord } from "#vault/records";
import type { Rows } from "#vault/rows";
import { findVm } from "#vault/vm-record";
import { valueBuffer } from "#value-buffer";

/** The most boots that one token may be for, besides the first. */
export const MAX_REBOOTS = 1_000_000;
/** PKCS #8 and SPKI of X25519 (RFC 8410), up to the key. */
const PRIVATE = Buffer.from("302e020100300506032b656e04220420", "hex");
const PUBLIC = Buffer.from("302a300506032b656e032100", "hex");
const SIZE = 32;

type Guest = Caller & { kind: "vm" };

export class Enrolments {
  readonly #gate: Gate;
  readonly #rows: Rows;
  readonly #ledgers: Ledgers;
  readonly #key: Key;

  constructor(gate: Gate, rows: Rows, ledgers: Ledgers, key: Key) {
    this.#gate = gate;
    this.#rows = rows;
    this.#ledgers = ledgers;
    this.#key = key;
  }

  /** From now on this VM enrols: the line for its firmware, which the caller wipes. An earlier one is void. */
  async mint(caller: Caller, name: string, reboots: number): Promise<Buffer> {
    if (!Number.isInteger(reboots) || reboots < 0 || reboots > MAX_REBOOTS) {
      throw new HatchwayError("invalid", `${reboots} reboots, and a token is for 0 to ${MAX_REBOOTS}`);
    }
    return this.#gate.mutate(caller, "vm.token", { vm: name }, async (commit) => {
      const { id: vmId } = (await findVm(this.#rows, name)).record;
      const id = randomBytes(16).toString("hex");
      await this.#ledgers.update(vmId, (record) => Object.assign({}, record, { enrolment: { id, reboots } }));
      await commit({});
      const token = this.#derived("token", vmId, id);
      const host = this.#hostKey(vmId, id);
      const line = encodeEnrolWord({ vm: Buffer.from(vmId, "hex"), token, host: publicOf(host) });
      token.fill(0);
      return { result: Buffer.from(line.buffer, line.byteOffset, line.length) };
    });
  }

  /** The generation that a guest of this VM enrols in. Throws "not-found" for a VM that does not enrol. */
  async generation(vmId: string): Promise<number> {
    const record = await this.#ledgers.get(vmId);
    enrolmentOf(record);
    return record.generation;
  }

  /**
   * The claim's key, sealed to a guest that has the token. The first guest key of a boot owns the token, and may ask again
   * until its first receipt. Throws "unauthenticated" for a MAC by no such token, and "exists" for a token that is spent
   * or another's; both raise an alarm.
   */
  async enrol(caller: Guest, request: EnrolRequest): Promise<Buffer> {
    const { vmId } = caller;
    const { guest, nonce, mac } = request;
    const record = await this.#ledgers.get(vmId);
    const { id } = enrolmentOf(record);
    const hostKey = this.#hostKey(vmId, id);
    const { generation } = record;
    const vm = Buffer.from(vmId, "hex");
    const transcript = enrolTranscript({ host: publicOf(hostKey), guest, vm, generation, nonce });
    const token = this.#derived("token", vmId, id);
    try {
      if (!timingSafeEqual(createHmac("sha256", token).update(transcript).digest(), mac)) {
        await this.#alarm(caller, "wrong enrolment");
        throw new HatchwayError("unauthenticated", "that is no enrolment by this vm's token");
      }
      const shared = exchange(hostKey, guest);
      const claim = this.#derived("claim", vmId, id, `${generation}`, guest.toString("hex"));
      try {
        await this.#take(caller, record, hash("sha256", guest, "hex"), hash("sha256", claim, "hex"));
        return sealed(shared, token, transcript, claim);
      } finally {
        claim.fill(0);
        shared.fill(0);
      }
    } finally {
      token.fill(0);
    }
  }

  /** Gives the token to `owner`, with the claim of this digest, unless somebody has had it. */
  async #take(caller: Guest, seen: LedgerRecord, owner: string, claim: string): Promise<void> {
    const { vmId } = caller;
    const state = stateFor(seen, owner);
    if (state === "again") return;
    if (state === "refused") {
      await this.#alarm(caller, "second enrolment");
      throw spent();
    }
    await this.#gate.mutate(caller, "vm.enrol", { vmId }, async (commit) => {
      const after = await this.#ledgers.update(vmId, (record) => {
        const isSame = record.generation === seen.generation && record.enrolment?.id === seen.enrolment?.id;
        if (!isSame || !record.enrolment || stateFor(record, owner) !== "first") return undefined;
        return { ...record, claim, enrolment: { ...record.enrolment, owner } };
      });
      if (after.claim !== claim) throw spent();
      await commit({});
      return { result: undefined };
    });
  }

  async #alarm(caller: Guest, what: "wrong enrolment" | "second enrolment"): Promise<void> {
    const { vmId } = caller;
    if (await this.#ledgers.alarm(vmId, what)) await this.#gate.alarm(caller, "vm.enrol", { vmId });
  }

  #hostKey(vmId: string, id: string): KeyObject {
    const scalar = this.#derived("host key", vmId, id);
    const pkcs8 = Buffer.concat([PRIVATE, scalar]);
    try {
      return createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
    } finally {
      scalar.fill(0);
      pkcs8.fill(0);
    }
  }

  /** 32 bytes for a purpose, for the caller to wipe. */
  #derived(...words: string[]): Buffer {
    const mac = createHmac("sha256", this.#key.object).update(words.join("\0")).digest();
    const bytes = valueBuffer(SIZE);
    mac.copy(bytes);
    mac.fill(0);
    return bytes;
  }
}

function enrolmentOf({ enrolment }: LedgerRecord): EnrolmentRecord {
  if (enrolment) return enrolment;
  throw new HatchwayError("not-found", "this vm does not enrol");
}

/** How a token stands to a guest key. */
function stateFor({ enrolment, claim, applied }: LedgerRecord, owner: string): "first" | "again" | "refused" {
  if (enrolment?.owner === owner && applied === undefined) return "again";
  const isFree = enrolment?.owner === undefined && enrolment?.spent !== true && claim === undefined;
  return isFree ? "first" : "refused";
}

function spent(): HatchwayError {
  return new HatchwayError("exists", "the token is spent: another guest key has it, or it was for fewer boots", {
    hint: "start the vm again, which makes a new one, or allow reboots: hatchway vm launch --enrol --reboots N",
  });
}

function publicOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-SIZE);
}

/** Throws "invalid" for a point of low order. */
function exchange(privateKey: KeyObject, point: Buffer): Buffer {
  try {
    const publicKey = createPublicKey({ key: Buffer.concat([PUBLIC, point]), format: "der", type: "spki" });
    return diffieHellman({ privateKey, publicKey });
  } catch (cause) {
    throw new HatchwayError("invalid", "the guest's key is no X25519 key", { cause });
  }
}

function sealed(shared: Buffer, token: Buffer, transcript: Uint8Array, claim: Buffer): Buffer {
  const key = Buffer.from(hkdfSync("sha256", shared, token, enrolReplyInfo(transcript), SIZE));
  try {
    const cipher = createCipheriv("chacha20-poly1305", key, Buffer.alloc(12), { authTagLength: 16 });
    return Buffer.concat([cipher.update(claim), cipher.final(), cipher.getAuthTag()]);
  } finally {
    key.fill(0);
  }
}
