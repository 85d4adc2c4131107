// How the agent gets to the host: a stream on which HTTP may begin.
import { AgentError, isFault, reason } from "./error.ts";
import { resync } from "./resync.ts";
import { findPort, formatSource, type LiveSource } from "./source.ts";
import { openSsh } from "./ssh.ts";
import { Stream, type Connection } from "./stream.ts";
import { failedWith, HERE, type Fd, type Sys } from "./sys.ts";

const CONNECT_MS = 5_000;
const RESYNC_MS = 10_000;
/** ssh has to reach the host and to agree on keys before it says anything. */
const SSH_RESYNC_MS = 30_000;

/**
 * Only root can open a virtio-serial port, and read the key of ssh: whoever speaks there needs no claim. Neither stream
 * has a beginning of its own, so what is said there begins by a resync.
 */
export function isRootOnly({ kind }: LiveSource): boolean {
  return kind === "virtio-serial" || kind === "unix-serial" || kind === "ssh";
}

/** Opens a stream on which HTTP may begin. `keys`: the folder of those that ssh uses. */
export function connect(sys: Sys, source: LiveSource, keys: string): Connection {
  let stream: Stream;
  try {
    stream = new Stream(sys, open(sys, source, keys));
  } catch (cause) {
    if (isFault(cause, "machine")) throw cause;
    if (failedWith(cause, "EINTR")) throw new AgentError("interrupted", "interrupted by a signal", { cause });
    throw new AgentError("host-gone", `cannot reach the host by ${formatSource(source)}: ${reason(cause)}`, { cause });
  }
  if (!isRootOnly(source)) return stream;
  try {
    resync(sys, stream, sys.monotonic() + (source.kind === "ssh" ? SSH_RESYNC_MS : RESYNC_MS));
    return stream;
  } catch (error) {
    stream.close();
    throw error;
  }
}

function open(sys: Sys, source: LiveSource, keys: string): Fd {
  switch (source.kind) {
    case "ssh":
      return openSsh(sys, source, keys);
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
