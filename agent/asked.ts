// Who asks for a credential. systemd connects from a socket that it has bound to an abstract name which says for which
// unit and which credential (systemd.exec(5), LoadCredential=); any process can bind such a name, so the unit of the peer
// must be the one that it names. The peer is not process 1 but a process that it has started for the unit (seen with systemd
// 257): in the unit's cgroup already, and still root, whatever User= says.
import { AgentError, reason } from "./error.ts";
import { HERE, POLLIN, POLLHUP, type Fd, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { readFile } from "./tree.ts";

/** A unit's credential. */
export interface Asked {
  unit: string;
  credential: string;
}

/** NUL RANDOM "/unit/" UNIT "/" CREDENTIAL, at most 108 bytes in all (unix(7)). */
const NAME = /^\0[0-9a-f]{1,16}\/unit\/([^/]+)\/([^/]+)$/;
const CGROUP_MOST = 65_536;

/** What a peer's name asks for; undefined when it is not of systemd's form. */
export function parsePeerName(name: Uint8Array): Asked | undefined {
  const text = decodeUtf8(name);
  if (!/^\0[\u0021-\u007e]+$/.test(text)) return undefined;
  const match = NAME.exec(text);
  return match ? { unit: match[1] ?? "", credential: match[2] ?? "" } : undefined;
}

/**
 * The unit that a process belongs to, by its /proc/PID/cgroup (cgroups(7)): below slices, the first component. What comes
 * behind that is the unit's own to make, so nothing there counts. systemd's own hierarchy is "name=systemd" where there
 * are several, else the only one, "0::". A name that the kernel could take for a file of its own has a "_" before it.
 */
export function unitOfCgroup(text: string): string | undefined {
  const lines = text.split("\n");
  const line = lines.find((one) => /^[0-9]+:name=systemd:\//.test(one)) ?? lines.find((one) => one.startsWith("0::/"));
  const path = line?.slice(line.indexOf(":/") + 2);
  const first = path?.split("/").find((component) => !component.endsWith(".slice"));
  return first === undefined || first === "" ? undefined : first.replace(/^_/, "");
}

/** Says what the peer asks for; throws AgentError "machine" with the reason when it is not systemd for that unit. */
export function identify(sys: Sys, peer: Fd): Asked {
  const { pid, uid } = sys.peer(peer);
  if (uid !== 0) throw new AgentError("machine", `process ${pid} is uid ${uid}'s, not root's`);
  const asked = parsePeerName(sys.peerName(peer));
  if (!asked) throw new AgentError("machine", `process ${pid} does not ask as systemd does`);
  const unit = unitOf(sys, pid);
  if (unit !== asked.unit) {
    const where = unit === undefined ? "no unit" : `"${unit}"`;
    throw new AgentError("machine", `process ${pid} asks for "${asked.unit}" and belongs to ${where}`);
  }
  // While it is connected its number is no other process's.
  if ((sys.poll(peer, POLLIN, 0) & POLLHUP) !== 0) throw new AgentError("machine", `process ${pid} has gone`);
  return asked;
}

function unitOf(sys: Sys, pid: number): string | undefined {
  try {
    return unitOfCgroup(decodeUtf8(readFile(sys, HERE, `/proc/${pid}/cgroup`, CGROUP_MOST)));
  } catch (cause) {
    throw new AgentError("machine", `cannot tell the unit of process ${pid}: ${reason(cause)}`, { cause });
  }
}
