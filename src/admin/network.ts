// The admin API over TCP: who asks is said by a bearer token or by a client certificate, and by nothing else.
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import type { Door } from "#admin/serve";
import { Throttle } from "#admin/throttle";
import type { Caller } from "#caller";
import { HatchwayError } from "#error";
import type { Vault } from "#vault";

/** Failures of one address before it is put off: each leaves a line in the audit trail, which nobody may flood. */
const FAILURES = 10;
const WINDOW = 60_000;
/** What may stand in the audit trail as a name. */
const COMMON_NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$/;

/** Whom a listener knows now; it is asked again for each request, since tokens and certificates come and go. */
export interface Acquaintances {
  /** Whose token an `Authorization` header holds. */
  findToken(authorization: string): string | undefined;
  /** Whether a certificate of that serial number is taken back. */
  isRevoked(serial: string): boolean;
}

/**
 * Identifies who makes a request. A right token or certificate always passes: only failures are put off, so that a
 * neighbour on the loopback cannot lock others out.
 */
export function networkDoor(vault: Pick<Vault, "allow">, acquaintances: Acquaintances): Door {
  const throttle = new Throttle(FAILURES, WINDOW);
  return async (incoming) => {
    const { remoteAddress = "unknown" } = incoming.socket;
    const known = callerOf(incoming, acquaintances);
    if (known) {
      await vault.allow(known, "admin.enter");
      return known;
    }
    const seconds = throttle.fail(remoteAddress);
    if (seconds !== undefined) {
      throw new HatchwayError("rate-limited", "too many requests without a right token or certificate", {
        hint: `try again in ${seconds} s`,
      });
    }
    const stranger: Caller = { kind: "stranger", address: remoteAddress };
    await vault.allow(stranger, "admin.enter");
    throw new HatchwayError("internal", "a stranger was let in");
  };
}

function callerOf(incoming: IncomingMessage, acquaintances: Acquaintances): Caller | undefined {
  const given = headerValues(incoming, "authorization");
  if (given.length > 1) throw new HatchwayError("invalid", "the header Authorization is there twice");
  const [authorization] = given;
  if (authorization !== undefined) {
    const id = acquaintances.findToken(authorization);
    return id === undefined ? undefined : { kind: "token", id };
  }
  const socket = incoming.socket as TLSSocket;
  if (!socket.authorized) return undefined;
  const { subject, serialNumber } = socket.getPeerCertificate();
  // A session that is resumed brings no certificate that TLS would check against the list.
  if (acquaintances.isRevoked(serialNumber)) return undefined;
  const name: unknown = subject?.CN;
  if (typeof name === "string" && COMMON_NAME.test(name)) return { kind: "certificate", name, serial: serialNumber };
  throw new HatchwayError("forbidden", "the client certificate's common name is not one name of A-Z a-z 0-9 . _ @ -");
}

/** As they came: Node drops all but the first of some headers. */
function headerValues(incoming: IncomingMessage, name: string): string[] {
  return incoming.rawHeaders.filter((_, at) => at % 2 === 1 && incoming.rawHeaders[at - 1]?.toLowerCase() === name);
}
