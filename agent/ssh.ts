// The host by ssh. The stream is this guest's own ssh client, whose key the host's sshd binds to one command for this VM
// (authorized_keys of sshd(8)): who holds the key is this VM, whatever it says. What a login shell of the host prints
// before that command is thrown away with all else that comes before the answer to our opening (resync.ts).
import { AgentError, reason } from "./error.ts";
import type { Source } from "./source.ts";
import { HERE, RESOLVE_NO_SYMLINKS, type Fd, type Sys } from "./sys.ts";
import { encodeUtf8 } from "./text.ts";
import { isType, S_IFREG, statOrNone, using } from "./tree.ts";

export type SshSource = Extract<Source, { kind: "ssh" }>;

/** The folder that has the key and what is known of the host, unless --ssh-keys says another. */
export const DEFAULT_SSH_KEYS = "/etc/hatchway/ssh";
const CLIENTS = ["/usr/bin/ssh", "/usr/local/bin/ssh", "/bin/ssh"];
/** The client ends by itself 45 s after the network did. */
const ALIVE = ["-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"];

/**
 * What the client is told (ssh(1), ssh_config(5)): nothing of this guest's own configuration, no password, no forwarding,
 * no key but ours, and only a host that is known.
 */
export function sshArguments({ user, host, port }: SshSource, keys: string): string[] {
  const options = {
    BatchMode: "yes",
    IdentitiesOnly: "yes",
    PreferredAuthentications: "publickey",
    StrictHostKeyChecking: "yes",
    UserKnownHostsFile: `${keys}/known_hosts`,
    GlobalKnownHostsFile: "none",
    ClearAllForwardings: "yes",
    LogLevel: "ERROR",
  };
  const named = Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  const bare = host.replace(/^\[(.*)\]$/, "$1");
  return ["-F", "none", "-T", "-i", `${keys}/key`, ...named, ...ALIVE, "-p", String(port), "-l", user, "--", bare];
}

/** Starts the client. Throws AgentError "machine" where there is none, or where others than root could have the key. */
export function openSsh(sys: Sys, source: SshSource, keys: string): Fd {
  const client = CLIENTS.find((path) => statOrNone(sys, HERE, path));
  if (client === undefined) throw new AgentError("machine", `this guest has no ssh client (${CLIENTS[0] ?? ""})`);
  checkKey(sys, `${keys}/key`);
  const argv = [client, ...sshArguments(source, keys)];
  return sys.spawn(argv.map(encodeUtf8), [encodeUtf8("PATH=/usr/bin:/bin")]);
}

function checkKey(sys: Sys, path: string): void {
  try {
    using(sys, sys.openat2(HERE, path, sys.O_RDONLY | sys.O_NONBLOCK, 0, RESOLVE_NO_SYMLINKS), (fd) => {
      const stat = sys.fstat(fd);
      if (isType(stat, S_IFREG) && stat.uid === 0 && (stat.mode & 0o077) === 0) return;
      throw new AgentError("machine", "it must be a file of root that nobody else can read");
    });
  } catch (cause) {
    throw new AgentError("machine", `ssh key "${path}": ${reason(cause)}`, { cause });
  }
}
