// How the agent gets to the host: a stream on which HTTP may begin.
import { AgentError, isFault, reason } from "./error.ts";
import { DEFAULT_IDENTITY, findIdentity } from "./identity.ts";
import { resync } from "./resync.ts";
import { findPort, formatSource, type LiveSource } from "./source.ts";
import { openSsh } from "./ssh.ts";
import { Stream, type Connection } from "./stream.ts";
import { failedWith, HERE, type Fd, type Sys } from "./sys.ts";
import { TlsStream } from "./tls.ts";

const CONNECT_MS = 5_000;
const RESYNC_MS = 10_000;
/** ssh has to reach the host and to agree on keys before it says anything. */
const SSH_RESYNC_MS = 30_000;
const HANDSHAKE_MS = 10_000;

type TlsSource = LiveSource & { kind: "tls" };

/** Only root can open a virtio-serial port, or read the key of ssh or TLS: whoever speaks there needs no claim. */
export function isRootOnly(source: LiveSource): boolean {
  return source.kind === "tls" || isBare(source);
}

/** These streams have no beginning of their own, so what is said there begins by a resync. */
function isBare({ kind }: LiveSource): boolean {
  return kind === "virtio-serial" || kind === "unix-serial" || kind === "ssh";
}

/** Opens a stream on which HTTP may begin. `keys`: the folder of those that ssh uses. */
export function connect(sys: Sys, source: LiveSource, keys: string): Connection {
  if (source.kind === "tls") return connectTls(sys, source);
  const stream = new Stream(
    sys,
    reach(source, () => open(sys, source, keys)),
  );
  if (!isBare(source)) return stream;
  try {
    resync(sys, stream, sys.monotonic() + (source.kind === "ssh" ? SSH_RESYNC_MS : RESYNC_MS));
    return stream;
  } catch (error) {
    stream.close();
    throw error;
  }
}

function reach(source: LiveSource, connecting: () => Fd): Fd {
  try {
    return connecting();
  } catch (cause) {
    if (isFault(cause, "machine")) throw cause;
    if (failedWith(cause, "EINTR")) throw new AgentError("interrupted", "interrupted by a signal", { cause });
    throw new AgentError("host-gone", `cannot reach the host by ${formatSource(source)}: ${reason(cause)}`, { cause });
  }
}

/** What this guest shows is read each time: it may have been renewed. */
function connectTls(sys: Sys, source: TlsSource): Connection {
  const identity = findIdentity(sys, source.identity);
  if (!identity)
    throw new AgentError(
      "machine",
      `there is no certificate to show: neither in the firmware nor "${DEFAULT_IDENTITY}" (name one by --tls)`,
    );
  try {
    const fd = reach(source, () => sys.connectTcp(source.host, source.port, CONNECT_MS));
    return TlsStream.open(sys, fd, source.host, identity, sys.monotonic() + HANDSHAKE_MS);
  } finally {
    sys.wipe(identity.bytes);
  }
}

function open(sys: Sys, source: Exclude<LiveSource, TlsSource>, keys: string): Fd {
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
