// A byte stream to the host, each wait with an end. Every failure is "host-gone" but for a signal, "interrupted".
import { AgentError, isFault, reason } from "./error.ts";
import { resync } from "./resync.ts";
import { findPort, formatSource, type Source } from "./source.ts";
import { failedWith, HERE, POLLERR, POLLHUP, POLLIN, POLLOUT, type Fd, type Sys } from "./sys.ts";

const CONNECT_MS = 5_000;
const RESYNC_MS = 10_000;

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
      this.#wait(POLLOUT, deadline);
      at += this.#try("write", () => this.#sys.write(this.#fd, bytes.subarray(at)));
    }
  }

  receive(into: Uint8Array, deadline: number): number {
    for (;;) {
      this.#wait(POLLIN, deadline);
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

  #wait(events: number, deadline: number): void {
    for (;;) {
      const left = Math.ceil(deadline - this.#sys.monotonic());
      if (left <= 0) throw new AgentError("host-gone", "the host did not answer in time");
      const came = poll(this.#sys, this.#fd, events, left);
      if ((came & events) !== 0) return;
      // A virtio-serial port whose host end is closed hangs up at once, and for ever.
      if ((came & (POLLHUP | POLLERR)) !== 0) throw new AgentError("host-gone", "the host closed the connection");
    }
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

/** Only root can open a virtio-serial port: whoever speaks there needs no claim. */
export function isSerial(source: Source): boolean {
  return source.kind === "virtio-serial" || source.kind === "unix-serial";
}

/** Opens a stream on which HTTP may begin. */
export function connect(sys: Sys, source: Source): Connection {
  let stream: Stream;
  try {
    stream = new Stream(sys, open(sys, source));
  } catch (cause) {
    if (isFault(cause, "machine")) throw cause;
    if (failedWith(cause, "EINTR")) throw new AgentError("interrupted", "interrupted by a signal", { cause });
    throw new AgentError("host-gone", `cannot reach the host by ${formatSource(source)}: ${reason(cause)}`, { cause });
  }
  if (!isSerial(source)) return stream;
  try {
    resync(sys, stream, sys.monotonic() + RESYNC_MS);
    return stream;
  } catch (error) {
    stream.close();
    throw error;
  }
}

function open(sys: Sys, source: Source): Fd {
  switch (source.kind) {
    case "unix":
    case "unix-serial":
      return sys.connectUnix(source.path, CONNECT_MS);
    case "vsock":
      return sys.connectVsock(source.cid, source.port, CONNECT_MS);
    case "virtio-serial": {
      const device = findPort(sys, source.port);
      if (device === undefined) throw new AgentError("machine", `no virtio-serial port is named "${source.port}"`);
      return sys.openat(HERE, device, sys.O_RDWR | sys.O_NONBLOCK | sys.O_NOFOLLOW);
    }
  }
}
