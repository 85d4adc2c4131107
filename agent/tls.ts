// A stream to the host within TLS 1.3 (RFC 8446), which Sys holds: here is the waiting, and the words for what fails.
import { AgentError, reason, type AgentFault } from "./error.ts";
import type { Identity } from "./identity.ts";
import { waitFor, type Connection } from "./stream.ts";
import { failedWith, POLLIN, POLLOUT, type Fd, type Sys, type TlsProblem } from "./sys.ts";

export class TlsStream implements Connection {
  readonly #sys: Sys;
  readonly #fd: Fd;
  #hasAnswered = false;

  private constructor(sys: Sys, fd: Fd) {
    this.#sys = sys;
    this.#fd = fd;
  }

  /** Shakes hands on a connected socket, which it closes if that fails. `host` must be a name in the host's certificate. */
  static open(sys: Sys, fd: Fd, host: string, { own, authorities }: Identity, deadline: number): TlsStream {
    const stream = new TlsStream(sys, fd);
    try {
      stream.#begin(host, own, authorities);
      stream.#try(() => sys.tlsHandshake(), deadline);
      return stream;
    } catch (error) {
      stream.close();
      throw error;
    }
  }

  send(bytes: Uint8Array, deadline: number): void {
    for (let at = 0; at < bytes.length;) {
      at += this.#try(() => this.#sys.tlsWrite(bytes.subarray(at)), deadline);
    }
  }

  receive(into: Uint8Array, deadline: number): number {
    const count = this.#try(() => this.#sys.tlsRead(into), deadline);
    if (count === 0) throw this.#ended();
    this.#hasAnswered = true;
    return count;
  }

  close(): void {
    this.#sys.tlsClose();
    this.#sys.close(this.#fd);
  }

  #begin(host: string, own: Uint8Array, authorities: Uint8Array): void {
    try {
      this.#sys.tlsOpen(this.#fd, host, own, authorities);
    } catch (cause) {
      if (!failedWith(cause, "EPROTO"))
        throw new AgentError("machine", `TLS cannot begin: ${reason(cause)}`, { cause });
      const number = this.#sys.tlsProblem().error.toString(16);
      const problem = "what this guest shows by TLS is not taken: a certificate of another key, or not of P-256";
      throw new AgentError("machine", `${problem} (Mbed TLS error 0x${number})`, { cause });
    }
  }

  /** A host that takes no offence at the certificate's form, but at whose it is, ends the connection after the handshake. */
  #ended(): AgentError {
    const why = this.#hasAnswered ? "" : " at once: is this guest's certificate revoked, or of a VM that is no more?";
    return new AgentError("host-gone", `the host closed the connection${why}`);
  }

  #try<T>(act: () => T, deadline: number): T {
    for (;;) {
      try {
        return act();
      } catch (cause) {
        if (failedWith(cause, "EAGAIN")) waitFor(this.#sys, this.#fd, POLLIN, deadline);
        else if (failedWith(cause, "EINPROGRESS")) waitFor(this.#sys, this.#fd, POLLOUT, deadline);
        else if (failedWith(cause, "EPROTO")) throw tlsFault(this.#sys.tlsProblem(), cause);
        else throw new AgentError("host-gone", `TLS failed: ${reason(cause)}`, { cause });
      }
    }
  }
}

/** Mbed TLS: MBEDTLS_ERR_X509_CERT_VERIFY_FAILED, _SSL_FATAL_ALERT_MESSAGE, _SSL_CONN_EOF. */
const VERIFY_FAILED = 0x2700;
const FATAL_ALERT = 0x7780;
const CONNECTION_ENDED = 0x7280;

/** MBEDTLS_X509_BADCERT_…, as bits. */
const FINDINGS: readonly (readonly [bit: number, finding: string])[] = [
  [0x08, "comes from none of the authorities that this guest knows"],
  [0x04, "is for another name"],
  [0x01, "has expired by this guest's clock"],
  [0x0200, "is not yet good by this guest's clock"],
  [0x1800, "is not for a server"],
];

/** RFC 8446, section 6.2. */
const ALERTS: Record<number, string> = {
  40: "found nothing in common with this guest",
  42: "does not take this guest's certificate",
  44: "says that this guest's certificate is revoked",
  45: "says that this guest's certificate has expired",
  46: "does not take this guest's certificate",
  48: "does not know the authority of this guest's certificate",
  70: "does not speak TLS 1.3",
  116: "wants a certificate",
};

/** Exported for tests. */
export function tlsFault({ error, findings, alert }: TlsProblem, cause: unknown): AgentError {
  const fail = (fault: AgentFault, message: string): AgentError => new AgentError(fault, message, { cause });
  if (error === VERIFY_FAILED) {
    const all = FINDINGS.filter(([bit]) => (findings & bit) !== 0).map(([, finding]) => finding);
    const what = all.length === 0 ? `is not taken (0x${findings.toString(16)})` : all.join(", and ");
    return fail("host-answer", `the certificate that the host shows ${what}`);
  }
  if (error === FATAL_ALERT) {
    return fail("host-answer", `the host ${ALERTS[alert] ?? `ended TLS with alert ${alert}`}`);
  }
  if (error === CONNECTION_ENDED) return fail("host-gone", "the host closed the connection before TLS was agreed on");
  return fail("host-answer", `TLS with the host failed (Mbed TLS error 0x${error.toString(16)})`);
}
