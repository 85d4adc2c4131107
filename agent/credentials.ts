// `hatchway-agent credentials`: systemd's LoadCredential=ID:/run/hatchway/credentials.sock, out of the set in force. One
// caller at a time: each is root, reads to the end, and is given up on after a while.
import { entryPath } from "#protocol/manifest";
import { MAX_VALUE_SIZE } from "#protocol/names";
import { identify } from "./asked.ts";
import { AgentError, isFault, reason } from "./error.ts";
import { Notifier } from "./notify.ts";
import { hasSize, isRootsAlone, variablePath } from "./place.ts";
import { readPolicy, rulesOf } from "./policy.ts";
import type { Root } from "./root.ts";
import { readSet } from "./set.ts";
import { poll } from "./stream.ts";
import { ASKED_TO_STOP, failedWith, HERE, POLLOUT, type Fd, type Sys } from "./sys.ts";
import { printable } from "./text.ts";
import { isType, openDirectory, readAll, statOrNone, using } from "./tree.ts";
import { UnitWatch } from "./unit-watch.ts";

const S_IFSOCK = 0o140000;
const CALL_MS = 5_000;
const ZEROS = new Uint8Array(65_536);
/** CREDENTIAL_SIZE_MAX of systemd, which refuses more: then the unit fails. An empty answer would be an empty credential. */
const CREDENTIAL_SIZE_MAX = 1_048_576;

export interface CredentialsPlace {
  /** Absolute path of the socket. */
  socket: string;
  policy: string;
}

/** Serves until SIGTERM. The caller catches signals already. */
export function serveCredentials(
  sys: Sys,
  root: Root,
  { socket, policy }: CredentialsPlace,
  log: (line: string) => void,
): void {
  // What is wrong with it is said at the start, where somebody looks.
  readPolicy(sys, policy);
  takeSocketLock(sys, root);
  const units = new UnitWatch(sys, root, log);
  const listener = listen(sys, socket);
  const notifier = new Notifier(sys, log);
  notifier.ready();
  log(`serves credentials on "${socket}"`);
  const ready = [listener, units.fd];
  while ((sys.takeSignals() & ASKED_TO_STOP) === 0) {
    try {
      if (sys.awaitAny(ready) === 1) units.look(policy);
      else answerNext(sys, root, listener, policy, log);
    } catch (error) {
      if (!failedWith(error, "EINTR") && !isFault(error, "interrupted")) throw error;
    }
  }
  notifier.stopping();
  sys.unlinkat(HERE, socket, false);
}

function takeSocketLock(sys: Sys, root: Root): void {
  const fd = sys.openat(root.agent, "credentials.lock", sys.O_RDWR | sys.O_CREAT | sys.O_NOFOLLOW, 0o600);
  if (!sys.flock(fd)) throw new AgentError("machine", "another hatchway-agent serves credentials here already");
}

/** Replaces what is left of an earlier one. The folder must be root's alone: else another could put his socket there. */
function listen(sys: Sys, path: string): Fd {
  const slash = path.lastIndexOf("/");
  const name = path.slice(slash + 1);
  return using(sys, openDirectory(sys, HERE, path.slice(0, slash) || "/"), (folder) => {
    const { uid, mode } = sys.fstat(folder);
    if (uid !== 0 || (mode & 0o022) !== 0) {
      throw new AgentError("machine", `the folder of "${path}" must be root's, and not writable by others`);
    }
    const there = statOrNone(sys, folder, name);
    if (there && !isType(there, S_IFSOCK)) throw new AgentError("machine", `"${path}" is there, and is no socket`);
    if (there) sys.unlinkat(folder, name, false);
    return sys.listenUnix(`/proc/self/fd/${folder}/${name}`);
  });
}

/** Takes one connection and answers it; what goes wrong with it is said and ends that one alone. */
function answerNext(sys: Sys, root: Root, listener: Fd, policy: string, log: (line: string) => void): void {
  let peer: Fd;
  try {
    peer = sys.accept(listener);
  } catch (error) {
    if (failedWith(error, "EAGAIN", "ECONNABORTED")) return;
    throw error;
  }
  using(sys, peer, () => {
    const deadline = sys.monotonic() + CALL_MS;
    let asked = "";
    let refused = "";
    let value: Uint8Array | undefined;
    try {
      const { unit, credential } = identify(sys, peer);
      asked = ` "${printable(credential, 100)}" to "${printable(unit, 200)}"`;
      const secret = rulesOf(readPolicy(sys, policy), unit)?.secrets.get(credential);
      if (secret === undefined) throw new AgentError("machine", `policy "${policy}" does not allow it`);
      value = readValue(sys, root, secret);
    } catch (error) {
      refused = reason(error);
    }
    try {
      if (value) send(sys, peer, value, deadline);
      else
        for (let left = CREDENTIAL_SIZE_MAX + 1; left > 0; left -= ZEROS.length)
          send(sys, peer, ZEROS.subarray(0, left), deadline);
    } catch (error) {
      if (isFault(error, "interrupted")) throw error;
      // Who is refused may leave before he has read it all.
      if (value) refused = `it was not read to its end: ${reason(error)}`;
    } finally {
      if (value) sys.wipe(value);
    }
    log(refused === "" ? `gave credential${asked}` : `refused credential${asked}: ${printable(refused, 500)}`);
  });
}

/**
 * A secret's value as the set in force has it, to be wiped. Throws AgentError "machine" when it is not there, or when
 * somebody else than root could have changed it: the owner of a file can.
 */
function readValue(sys: Sys, root: Root, name: string): Uint8Array {
  let value: Uint8Array | undefined;
  const found = readSet(sys, root, (set) => {
    if (value) sys.wipe(value);
    value = undefined;
    const entry = set.byName.get(name);
    const refused = set.refused.find((refusal) => refusal.name === name);
    if (!entry || refused) throw new AgentError("machine", `there is no secret "${name}" here`);
    // A variable's copy is root's own, whoever has the file.
    const path = entry.env !== undefined ? variablePath(entry.env) : entryPath(entry);
    const { size } = entry;
    using(sys, sys.openat(set.fd, path, sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK), (fd) => {
      const stat = sys.fstat(fd);
      if (!isRootsAlone(stat)) {
        throw new AgentError(
          "machine",
          `others than root could have changed secret "${name}": attach it with owner root`,
        );
      }
      if (!hasSize(stat, size)) throw new AgentError("machine", `secret "${name}" is not as it was delivered`);
      value = readAll(sys, fd, MAX_VALUE_SIZE, path);
    });
    return true;
  });
  if (found === undefined || !value) throw new AgentError("machine", "there is no set of secrets yet");
  return value;
}

/** `deadline` is on the monotonic clock, in ms. */
function send(sys: Sys, peer: Fd, bytes: Uint8Array, deadline: number): void {
  for (let at = 0; at < bytes.length;) {
    const left = Math.ceil(deadline - sys.monotonic());
    if (left <= 0) throw new AgentError("machine", "the peer does not read");
    poll(sys, peer, POLLOUT, left);
    try {
      at += sys.write(peer, bytes.subarray(at));
    } catch (error) {
      if (!failedWith(error, "EAGAIN")) throw error;
    }
  }
}
