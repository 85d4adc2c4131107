import { HatchwayError } from "#error";
import { ProtocolError } from "#protocol/error";
import { parseJson, type Json, type JsonObject } from "#protocol/json";
import type { EnrolRequest, ReceiptClaim } from "#vault";

/** `{"key":"64 lower-case hex"}`: the key's 32 bytes, for the caller to wipe. */
export function parseClaim(body: Uint8Array): Buffer {
  const { key } = object(body, "claim", ["key"]);
  if (typeof key !== "string" || !/^[0-9a-f]{64}$/.test(key)) {
    throw new HatchwayError("invalid", "a claim's key is 64 lower-case hex digits");
  }
  return Buffer.from(key, "hex");
}

/** `{"guest","nonce","mac"}`, each 64 lower-case hex digits. */
export function parseEnrolment(body: Uint8Array): EnrolRequest {
  const said = object(body, "enrolment", ["guest", "nonce", "mac"]);
  const bytes = (part: "guest" | "nonce" | "mac"): Buffer => {
    const digits = said[part];
    if (typeof digits === "string" && /^[0-9a-f]{64}$/.test(digits)) return Buffer.from(digits, "hex");
    throw new HatchwayError("invalid", `an enrolment's ${part} is 64 lower-case hex digits`);
  };
  return { guest: bytes("guest"), nonce: bytes("nonce"), mac: bytes("mac") };
}

/** `{"outcome","refused":[{"name","reason"}],"mount","agent","boot"}`; docs/formats.md. */
export function parseReceipt(body: Uint8Array): ReceiptClaim {
  const from = object(body, "receipt", ["outcome", "refused", "mount", "agent", "boot"]);
  const { outcome, refused } = from;
  if (outcome !== "applied" && outcome !== "failed") {
    throw new HatchwayError("invalid", 'a receipt\'s outcome is "applied" or "failed"');
  }
  if (!Array.isArray(refused)) throw new HatchwayError("invalid", "a receipt's refused is an array");
  return {
    outcome,
    refused: refused.map((one) => {
      if (one === null || typeof one !== "object" || Array.isArray(one)) {
        throw new HatchwayError("invalid", "a receipt's refused holds objects");
      }
      return { name: text(one["name"], "name"), reason: text(one["reason"], "reason") };
    }),
    mount: text(from["mount"], "mount"),
    agent: text(from["agent"], "agent"),
  };
}

function object(body: Uint8Array, what: string, known: readonly string[]): JsonObject {
  let json: Json;
  try {
    json = parseJson(body, what);
  } catch (cause) {
    if (cause instanceof ProtocolError) throw new HatchwayError("invalid", cause.message, { cause });
    throw cause;
  }
  if (json === null || typeof json !== "object" || Array.isArray(json)) {
    throw new HatchwayError("invalid", `a ${what} is an object`);
  }
  const unknown = Object.keys(json).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new HatchwayError("invalid", `a ${what} has no "${unknown.slice(0, 40)}"`);
  return json;
}

function text(json: Json | undefined, what: string): string {
  if (typeof json !== "string") throw new HatchwayError("invalid", `a receipt's ${what} is a string`);
  return json;
}
