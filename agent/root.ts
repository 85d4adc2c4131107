// /run/hatchway, the agent's root, and what lies there:
//
//   /run/hatchway/            0711  tmpfs or ramfs: nodev, nosuid, noexec; never exchanged, so bind mounts follow
//     secrets/                0711  the set in force (set.ts); exchanged whole
//     env -> secrets/.hatchway/env
//     .agent/                 0700  the agent's own: claim, lock, links.json, status.json, next-… (a set being built)
import { AgentError } from "./error.ts";
import { hasSwap, mountOf } from "./mounts.ts";
import { failedWith, HERE, MS_NODEV, MS_NOEXEC, MS_NOSUID, type Fd, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { makeDirectory, openDirectory, readFile, statOrNone, using } from "./tree.ts";

export const DEFAULT_ROOT = "/run/hatchway";

/** What keeps the values, as a receipt names it. */
export type Memory = "tmpfs" | "tmpfs,noswap" | "ramfs";

export interface Root {
  /** Canonical absolute path. */
  path: string;
  fd: Fd;
  /** The folder `.agent`. */
  agent: Fd;
  memory: Memory;
}

/**
 * Opens the root, first mounting it when `mount` is set and nothing of ours is mounted there. Two sets of the largest
 * size fit. Refuses a root that someone else could write to or that does not lie in memory.
 */
export function openRoot(sys: Sys, path: string, mount: boolean): Root {
  if (sys.geteuid() !== 0) throw new AgentError("machine", "hatchway-agent must run as root");
  let fd = openOwn(sys, path);
  const canonical = sys.readlinkat(HERE, `/proc/self/fd/${fd}`);
  let memory = memoryOf(sys, canonical, mount);
  if (memory === undefined && mount) {
    mountMemory(sys, canonical);
    sys.close(fd);
    fd = openOwn(sys, canonical);
    memory = memoryOf(sys, canonical, true);
  }
  if (memory === undefined) {
    throw new AgentError("machine", `"${canonical}" is on a disk: a secret is kept only in tmpfs or ramfs`);
  }
  const agent = makeDirectory(sys, fd, ".agent", 0o700);
  refuseOthers(sys, agent, `${canonical}/.agent`, 0o077);
  return { path: canonical, fd, agent, memory };
}

function openOwn(sys: Sys, path: string): Fd {
  if (!statOrNone(sys, HERE, path)) using(sys, makeDirectory(sys, HERE, path, 0o711), () => undefined);
  const fd = openDirectory(sys, HERE, path);
  refuseOthers(sys, fd, path, 0o022);
  return fd;
}

function refuseOthers(sys: Sys, fd: Fd, path: string, bits: number): void {
  const { uid, mode } = sys.fstat(fd);
  if (uid === 0 && (mode & bits) === 0) return;
  throw new AgentError(
    "machine",
    `"${path}" must be root's alone, it is uid ${uid}'s, mode ${(mode & 0o777).toString(8)}`,
  );
}

function memoryOf(sys: Sys, path: string, itself: boolean): Memory | undefined {
  const mount = mountOf(decodeUtf8(readFile(sys, HERE, "/proc/self/mountinfo", 4_194_304)), path);
  if (!mount || (itself && mount.point !== path)) return undefined;
  if (mount.type === "ramfs") return "ramfs";
  if (mount.type !== "tmpfs") return undefined;
  return mount.options.includes("noswap") ? "tmpfs,noswap" : "tmpfs";
}

/** A limit, not a reservation: two sets of 64 MiB, and inodes for 4,096 entries with folders of their own in each. */
const SIZE = "mode=0711,size=160m,nr_inodes=100k";

/** noswap is known from Linux 6.4; before that, ramfs never swaps and tmpfs does when there is swap. */
function mountMemory(sys: Sys, path: string): void {
  const flags = MS_NODEV | MS_NOSUID | MS_NOEXEC;
  try {
    sys.mount("tmpfs", path, flags, `${SIZE},noswap`);
    return;
  } catch (error) {
    if (!failedWith(error, "EINVAL")) throw error;
  }
  if (hasSwap(decodeUtf8(readFile(sys, HERE, "/proc/swaps", 65_536)))) sys.mount("ramfs", path, flags, "mode=0711");
  else sys.mount("tmpfs", path, flags, SIZE);
}
