// A guest that enrols, by the agent's own cryptography.
import { authenticate, derive, openSealed, publicKey, sharedSecret } from "#agent/primitives";
import { enrolReplyInfo, enrolTranscript, parseEnrolWord } from "#protocol/enrol";
import type { EnrolRequest } from "#vault";

export class Enrolling {
  readonly request: EnrolRequest;
  readonly #token: Uint8Array;
  readonly #host: Uint8Array;
  readonly #scalar: Buffer;
  readonly #transcript: Uint8Array;

  /** `line`: the word of its firmware. */
  constructor(line: Uint8Array, scalar: Buffer, generation: number, nonce: Buffer = Buffer.alloc(32, 7)) {
    const { vm, token, host } = parseEnrolWord(line);
    const guest = Buffer.from(publicKey(scalar));
    this.#token = token;
    this.#host = host;
    this.#scalar = scalar;
    this.#transcript = enrolTranscript({ host, guest, vm, generation, nonce });
    this.request = { guest, nonce, mac: Buffer.from(authenticate(token, this.#transcript)) };
  }

  /** The claim's key; undefined where the answer is not by who has made the token. */
  open(sealed: Uint8Array): Buffer | undefined {
    const shared = sharedSecret(this.#scalar, this.#host);
    if (!shared) return undefined;
    const claim = Buffer.alloc(32);
    const key = derive(shared, this.#token, enrolReplyInfo(this.#transcript));
    return openSealed(key, Buffer.alloc(12), sealed, claim) ? claim : undefined;
  }

  get json(): string {
    const { guest, nonce, mac } = this.request;
    return JSON.stringify({ guest: guest.toString("hex"), nonce: nonce.toString("hex"), mac: mac.toString("hex") });
  }
}
