// Enrolment, on the guest's side (#protocol/enrol): with the token of this boot the agent gets the key of the claim, and the
// token is burnt. Its own key pair is kept before it is first used, so that an agent that was killed in between is the same.
import { enrolReplyInfo, enrolTranscript, ENROL_KEY_BYTES, parseEnrolWord } from "#protocol/enrol";
import { ProtocolError } from "#protocol/error";
import { asciiBytes, parseJson, type JsonObject } from "#protocol/json";
import { keepClaimKey } from "./claim.ts";
import { firmwareWord } from "./firmware-word.ts";
import { authenticate, derive, NONCE_BYTES, openSealed, publicKey, sharedSecret, TAG_BYTES } from "./primitives.ts";
import type { Root } from "./root.ts";
import type { Sys } from "./sys.ts";
import { hex } from "./text.ts";
import { readFile, replaceFile, statOrNone } from "./tree.ts";

/** The private key of this boot, 32 bytes. */
const FILE = "enrol";
const SEALED_BYTES = ENROL_KEY_BYTES + TAG_BYTES;

/** Asks the host, and gives its JSON; throws for any other status than 200. */
export type AskHost = (method: "GET" | "POST", path: string, body?: Uint8Array) => Uint8Array;

/** Whether the host has given this guest a token. */
export function mustEnrol(sys: Sys): boolean {
  const word = firmwareWord(sys, "enrol");
  if (word) sys.wipe(word);
  return word !== undefined;
}

/** Enrols: from then on the claim's key is what the host has given. Throws ProtocolError, and as `ask` does. */
export function enrol(sys: Sys, root: Root, ask: AskHost): void {
  const word = firmwareWord(sys, "enrol");
  if (!word) throw new ProtocolError("enrol: the firmware has no token any more");
  const held: Uint8Array[] = [word];
  const hold = (bytes: Uint8Array): Uint8Array => {
    held.push(bytes);
    return bytes;
  };
  try {
    const { vm, token, host } = parseEnrolWord(word);
    hold(token);
    const own = hold(privateKey(sys, root));
    const guest = publicKey(own);
    const nonce = new Uint8Array(ENROL_KEY_BYTES);
    sys.getrandom(nonce);
    const transcript = enrolTranscript({ host, guest, vm, generation: generationOf(ask("GET", "/v1/enrol")), nonce });
    const mac = authenticate(token, transcript);
    const body = asciiBytes(`{"guest":"${hex(guest)}","nonce":"${hex(nonce)}","mac":"${hex(mac)}"}`);
    const sealed = sealedOf(ask("POST", "/v1/enrol", body));
    const shared = sharedSecret(own, host);
    if (!shared) throw new ProtocolError("enrol: the host's key is of low order");
    const key = hold(derive(hold(shared), token, enrolReplyInfo(transcript)));
    const claim = hold(new Uint8Array(ENROL_KEY_BYTES));
    if (!openSealed(key, new Uint8Array(NONCE_BYTES), sealed, claim)) {
      throw new ProtocolError("enrol: the answer is not by the host that has made the token");
    }
    keepClaimKey(sys, root, claim);
  } finally {
    for (const bytes of held) sys.wipe(bytes);
  }
}

/** The caller wipes it. */
function privateKey(sys: Sys, root: Root): Uint8Array {
  if (statOrNone(sys, root.agent, FILE)) {
    const kept = readFile(sys, root.agent, FILE, ENROL_KEY_BYTES);
    if (kept.length === ENROL_KEY_BYTES) return kept;
  }
  const key = new Uint8Array(ENROL_KEY_BYTES);
  sys.getrandom(key);
  replaceFile(sys, root.agent, FILE, key);
  return key;
}

function generationOf(json: Uint8Array): number {
  const { generation } = objectOf(json);
  if (typeof generation === "number" && Number.isSafeInteger(generation) && generation > 0) return generation;
  throw new ProtocolError("enrol: the answer has no generation");
}

function sealedOf(json: Uint8Array): Uint8Array {
  const { sealed } = objectOf(json);
  if (typeof sealed !== "string" || sealed.length !== 2 * SEALED_BYTES || !/^[0-9a-f]*$/.test(sealed)) {
    throw new ProtocolError("enrol: the answer has nothing sealed");
  }
  return Uint8Array.from({ length: SEALED_BYTES }, (_, at) => Number.parseInt(sealed.slice(2 * at, 2 * at + 2), 16));
}

function objectOf(bytes: Uint8Array): JsonObject {
  const json = parseJson(bytes, "enrol");
  if (json !== null && typeof json === "object" && !Array.isArray(json)) return json;
  throw new ProtocolError("enrol: the answer is no object");
}
