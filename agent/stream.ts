// A byte stream to the host, each wait with an end. Every failure is "host-gone" but for a signal, "interrupted".
import { AgentError, reason } from "./error.ts";
import { failedWith, POLLERR, POLLHUP, POLLIN, POLLOUT, type Fd, type Sys } from "./sys.ts";

export interface Connection {
  /** Sends all; `deadline` is on the monotonic clock, in ms. */
  send(bytes: Uint8Array, deadline: number): void;
  /** At least one byte into the buffer; how many. */
  receive(into: Uint8Array, deadline: number): number;
  close(): void;
}

export class Stream implements Connection {
  readonly #sys: Sys;
  readonly #fd: Fd;

  constructor(sys: Sys, fd: Fd) {
    this.#sys = sys;
    this.#fd = fd;
  }

  send(bytes: Uint8Array, deadline: number): void {
    for (let at = 0; at < bytes.length;) {
      waitFor(this.#sys, this.#fd, POLLOUT, deadline);
      at += this.#try("write", () => this.#sys.write(this.#fd, bytes.subarray(at)));
    }
  }

  receive(into: Uint8Array, deadline: number): number {
    for (;;) {
      waitFor(this.#sys, this.#fd, POLLIN, deadline);
      let ended = false;
      const count = this.#try("read", () => {
        const length = this.#sys.read(this.#fd, into);
        ended = length === 0;
        return length;
      });
      if (ended) throw new AgentError("host-gone", "the host closed the connection");
      if (count > 0) return count;
    }
  }

  close(): void {
    this.#sys.close(this.#fd);
  }

  /** 0 when the kernel would rather be asked again. */
  #try(what: string, act: () => number): number {
    try {
      return act();
    } catch (cause) {
      if (failedWith(cause, "EAGAIN")) return 0;
      throw new AgentError("host-gone", `${what} failed: ${reason(cause)}`, { cause });
    }
  }
}

/** Waits for one of the events; throws "host-gone" when the other end hangs up, or at the deadline. */
export function waitFor(sys: Sys, fd: Fd, events: number, deadline: number): void {
  for (;;) {
    const left = Math.ceil(deadline - sys.monotonic());
    if (left <= 0) throw new AgentError("host-gone", "the host did not answer in time");
    const came = poll(sys, fd, events, left);
    if ((came & events) !== 0) return;
    // A virtio-serial port whose host end is closed hangs up at once, and for ever.
    if ((came & (POLLHUP | POLLERR)) !== 0) throw new AgentError("host-gone", "the host closed the connection");
  }
}

/** As Sys.poll; a signal is "interrupted". */
export function poll(sys: Sys, fd: Fd, events: number, timeoutMs: number): number {
  try {
    return sys.poll(fd, events, timeoutMs);
  } catch (cause) {
    if (failedWith(cause, "EINTR")) throw new AgentError("interrupted", "interrupted by a signal", { cause });
    throw cause;
  }
}
