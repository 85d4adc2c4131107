import { asciiBytes, type Json } from "#protocol/json";
import { ProtocolError } from "#protocol/error";
import type { Memory } from "./root.ts";
import { printable } from "./text.ts";

export const AGENT_VERSION = "0.1.0";

/** Something of a bundle that this guest does not have, or did not do. */
export interface Refusal {
  /** The entry's name; "*" when it is about the whole. */
  name: string;
  reason: string;
}

/** What the agent tells the host of a revision: `POST /v1/receipts/REV`. */
export interface Receipt {
  outcome: "applied" | "failed";
  refused: readonly Refusal[];
  mount: Memory;
  agent: string;
  /** The kernel's boot id. */
  boot: string;
}

/** The body's limit; refusals that do not fit are left out, the last first. */
export const MAX_RECEIPT = 4096;

export function encodeReceipt(receipt: Receipt): Uint8Array {
  let refused = receipt.refused.map(({ name, reason }) => ({ name, reason: printable(reason, 200) }));
  for (;;) {
    const body = asciiBytes(JSON.stringify({ ...receipt, refused }));
    if (body.length <= MAX_RECEIPT) return body;
    refused = refused.slice(0, -1);
  }
}

/** One line for people. */
export function summary(secrets: number, revision: string): string {
  return `${secrets} ${secrets === 1 ? "secret" : "secrets"}, revision ${revision}`;
}

/** Reads a list that the agent wrote itself. */
export function parseRefusals(json: Json | undefined): Refusal[] {
  if (!Array.isArray(json)) throw new ProtocolError("refused: not an array");
  return json.map((item) => {
    if (item === null || typeof item !== "object" || Array.isArray(item)) {
      throw new ProtocolError("refused: not an object");
    }
    const { name, reason } = item;
    if (typeof name !== "string" || typeof reason !== "string") throw new ProtocolError("refused: name and reason");
    return { name, reason };
  });
}
