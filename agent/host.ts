// The guest API, from the guest's side. One connection, opened when it is needed, dropped after any fault.
import { BundleReader, type BundleSink } from "#protocol/bundle";
import { asciiBytes } from "#protocol/json";
import { ProtocolError } from "#protocol/error";
import { claimKey, keptClaimKey } from "./claim.ts";
import { connect, isRootOnly } from "./connection.ts";
import type { Connection } from "./stream.ts";
import { enrol, mustEnrol } from "./enrol.ts";
import { AgentError } from "./error.ts";
import { concat, HttpClient, type Head, type Request } from "./http.ts";
import type { Origin } from "./origin.ts";
import { encodeReceipt, type Receipt } from "./receipt.ts";
import type { Root } from "./root.ts";
import type { LiveSource } from "./source.ts";
import type { Sys } from "./sys.ts";

/** How long the host may take to answer, beyond the wait that it was asked for. */
const PATIENCE_MS = 10_000;
/** Bytes of an answer that is neither a bundle nor empty. */
const MAX_ANSWER = 4_096;

export class Host implements Origin {
  readonly source: LiveSource;
  readonly #sys: Sys;
  readonly #root: Root;
  /** The folder of ssh's keys. */
  readonly #keys: string;
  #session: { connection: Connection; http: HttpClient } | undefined;
  #claimed = false;
  /** Whether this guest was given a token at its boot; undefined before that was looked for. */
  #enrols: boolean | undefined;

  constructor(sys: Sys, root: Root, source: LiveSource, keys: string) {
    this.#sys = sys;
    this.#root = root;
    this.source = source;
    this.#keys = keys;
  }

  bundle(have: string | undefined, waitSeconds: number, sink: BundleSink): "changed" | "same" {
    const path = have === undefined ? "/v1/bundle" : `/v1/bundle?have=${have}&wait=${waitSeconds}`;
    const reader = new BundleReader(sink);
    const head = this.#authorised({ method: "GET", path }, PATIENCE_MS + waitSeconds * 1000, (answer) => {
      if (answer.status !== 200) return discard;
      if (answer.headers.get("content-type") !== "application/x-tar") throw new ProtocolError("http: not a tar");
      return (piece) => reader.push(piece);
    });
    if (head.status === 304) return "same";
    if (head.status !== 200) throw unexpected("GET /v1/bundle", head.status);
    endOf(reader);
    return "changed";
  }

  receipt(revision: string, receipt: Receipt): void {
    const body = encodeReceipt(receipt);
    const head = this.#authorised(
      { method: "POST", path: `/v1/receipts/${revision}`, body },
      PATIENCE_MS,
      () => discard,
    );
    if (head.status !== 204) throw unexpected(`POST /v1/receipts/${revision}`, head.status);
  }

  close(): void {
    this.#session?.connection.close();
    this.#session = undefined;
  }

  /** One request with the claim's key, claiming first when that is still to be done or to be done again. */
  #authorised(request: Request, patienceMs: number, takeBody: (head: Head) => (piece: Uint8Array) => void): Head {
    this.#enrols ??= mustEnrol(this.#sys);
    if (isRootOnly(this.source) && !this.#enrols) {
      const head = this.#exchange(request, patienceMs, takeBody);
      if (head.status === 401) throw this.#withoutToken();
      return head;
    }
    for (let again = false; ; again = true) {
      if (!this.#claimed) this.#become(again);
      const key = claimKey(this.#sys, this.#root);
      const authorization = concat([asciiBytes("Hatchway "), key]);
      const head = this.#exchange({ ...request, authorization }, patienceMs, takeBody);
      this.#sys.wipe(key);
      this.#sys.wipe(authorization);
      if (head.status !== 401 || again) return head;
      this.#claimed = false;
    }
  }

  /** Gets the right to fetch. What an earlier agent of this boot got by enrolling still holds, until the host says no. */
  #become(again: boolean): void {
    if (this.#enrols !== true) return this.#claim();
    const kept = again ? undefined : keptClaimKey(this.#sys, this.#root);
    if (kept) this.#sys.wipe(kept);
    else this.#enrol();
    this.#claimed = true;
  }

  /** The driver that shows it may be loaded later. */
  #withoutToken(): AgentError {
    this.#enrols = undefined;
    const where =
      'no fw_cfg file "opt/org.hatchway/enrol" (driver qemu_fw_cfg) and no SMBIOS string "org.hatchway.enrol"';
    return new AgentError("host-answer", `the host wants this guest to enrol, and it has no token: ${where}`);
  }

  #enrol(): void {
    enrol(this.#sys, this.#root, (method, path, body) => {
      const parts: Uint8Array[] = [];
      const { status } = this.#exchange(
        { method, path, ...(body && { body }) },
        PATIENCE_MS,
        ({ status: said, length }) => {
          if (said !== 200) return discard;
          if (length > MAX_ANSWER) throw new ProtocolError("http: a longer answer than there is");
          return (piece) => void parts.push(piece.slice());
        },
      );
      if (status === 409) {
        throw new AgentError("claim-held", "the token of this boot is spent: another process may have the secrets");
      }
      if (status !== 200) throw unexpected(`${method} ${path}`, status);
      return concat(parts);
    });
  }

  #claim(): void {
    const key = claimKey(this.#sys, this.#root);
    const body = concat([asciiBytes('{"key":"'), key, asciiBytes('"}')]);
    const { status } = this.#exchange({ method: "POST", path: "/v1/claim", body }, PATIENCE_MS, () => discard);
    this.#sys.wipe(key);
    this.#sys.wipe(body);
    if (status === 409) {
      throw new AgentError("claim-held", "another process of this guest has claimed its secrets: they may be exposed");
    }
    if (status === 401) throw this.#withoutToken();
    if (status !== 200) throw unexpected("POST /v1/claim", status);
    this.#claimed = true;
  }

  #exchange(request: Request, patienceMs: number, takeBody: (head: Head) => (piece: Uint8Array) => void): Head {
    try {
      if (!this.#session) {
        const connection = connect(this.#sys, this.source, this.#keys);
        this.#session = { connection, http: new HttpClient(this.#sys, connection) };
      }
      const head = this.#session.http.exchange(request, patienceMs, takeBody);
      if (head.close) this.close();
      return head;
    } catch (error) {
      this.close();
      throw error;
    }
  }
}

function discard(): void {}

function endOf(reader: BundleReader): void {
  try {
    reader.end();
  } catch (cause) {
    if (cause instanceof ProtocolError) throw new AgentError("host-answer", cause.message, { cause });
    throw cause;
  }
}

function unexpected(what: string, status: number): AgentError {
  return new AgentError("host-answer", `the host answered "${what}" with status ${status}`);
}
