// The process that serves a folder to one machine by virtiofs: QEMU's own virtiofsd, as Debian 12 has it.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { lchown } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { HatchwayError } from "#error";
import { ownUid } from "#host/files";
import { removeTree } from "#host/remove-tree";
import type { Runner } from "#vm";
import type { ProcessIdentity } from "#vmm";
import { identify, isAlive, signalProcess } from "./process.ts";
import { keepLastWords } from "./spawn.ts";

const PROGRAM = "/usr/lib/qemu/virtiofsd";
const START_MS = 10_000;

/**
 * What it may do beyond what its user may: read files of any owner. It begins with all that root may, which its sandbox
 * needs, and drops the rest before it hears the first word of the guest (setup_capabilities in its passthrough_ll.c).
 */
const CAPABILITIES = [
  "+dac_read_search",
  ...["chown", "dac_override", "fowner", "fsetid", "setgid", "setuid", "mknod", "setfcap"].map((name) => `-${name}`),
].join(":");

/** In a mount namespace of its own the folder is read-only; the sandbox then shows it that folder and nothing else. */
const READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro,nosuid,nodev,noexec "$1" && shift && exec "$@"';

/**
 * Serves `folder`, read-only, to whoever is the first to connect to `socket`: the runner, root and nobody else can. It ends
 * when that connection does. The guest asks for everything anew (cache=none), so that it sees a change at once. Throws
 * HatchwayError "unsupported" where it is not installed or this is not root, "unavailable" with its last words.
 */
export async function serveByVirtiofs(folder: string, socket: string, runner: Runner): Promise<ProcessIdentity> {
  checkUsable();
  await removeTree(socket);
  const options = [`source=${folder}`, "sandbox=namespace", "cache=none", `modcaps=${CAPABILITIES}`];
  const command = [PROGRAM, "-f", `--socket-path=${socket}`, ...options.flatMap((option) => ["-o", option])];
  const unshared = ["--mount", "--propagation", "private", "sh", "-c", READ_ONLY, "sh", folder, ...command];
  const child = spawn("unshare", unshared, {
    cwd: "/",
    detached: true,
    env: { PATH: "/usr/bin:/bin:/usr/sbin:/sbin", LC_ALL: "C" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  child.unref();
  const lastWords = keepLastWords(child);
  const identity = child.pid === undefined ? undefined : identify(child.pid);
  if (identity && (await hasBound(socket, identity))) {
    await lchown(socket, runner.uid, runner.gid);
    return identity;
  }
  throw new HatchwayError("unavailable", `virtiofsd did not start: ${lastWords()}`);
}

/** Whether the socket is there before the process ends; after too long it is ended. */
async function hasBound(socket: string, process: ProcessIdentity): Promise<boolean> {
  const deadline = performance.now() + START_MS;
  while (!existsSync(socket)) {
    if (performance.now() > deadline) signalProcess(process, "SIGKILL");
    if (!isAlive(process)) return false;
    await sleep(5);
  }
  return true;
}

function checkUsable(): void {
  if (!existsSync(PROGRAM)) {
    throw new HatchwayError("unsupported", `"${PROGRAM}" is not installed`, {
      hint: "apt-get install qemu-system-common on Debian 12, or share by 9p",
    });
  }
  if (ownUid() === 0) return;
  throw new HatchwayError("unsupported", "only root can start virtiofsd in its sandbox", {
    hint: "share by 9p, which needs no other process, or use the system daemon",
  });
}
