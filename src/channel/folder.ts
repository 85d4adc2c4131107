import { chmod, lchown, lstat, mkdir } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { HatchwayError } from "#error";
import { isErrno, ownUid } from "#host/files";
import { descriptorOf, peerCredentials, type PeerCredentials } from "#host/peer";
import { removeTree } from "#host/remove-tree";
import { checkSocketPath } from "#socket-path";
import type { Runner } from "#vm";

/**
 * Makes the folder of a VM's sockets, or takes it back from its runner: until `openFolder` only this process's user
 * can reach anything in it, so that what is bound there meanwhile cannot be swapped.
 */
export async function closeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
  }
  const stat = await lstat(path);
  if (!stat.isDirectory() || stat.uid !== ownUid()) {
    throw new HatchwayError("forbidden", `"${path}" is not a directory of uid ${ownUid()}`);
  }
  await chmod(path, 0o700);
}

/** Lets the runner in: he may make files of his own there, and cannot remove ours (sticky). */
export async function openFolder(path: string, runner: Runner): Promise<void> {
  if (runner.uid === ownUid()) return;
  await lchown(path, ownUid(), runner.gid);
  await chmod(path, 0o1770);
}

/** Takes the folder away with all that the runner made there. */
export async function removeFolder(path: string): Promise<void> {
  await closeFolder(path);
  await removeTree(path);
}

/** Connections to one socket of a runner at a time, at most: he cannot take descriptors away from other VMs. */
const MAX_CONNECTIONS = 64;

/**
 * Listens on a unix socket that only `runner` can connect to, in a closed folder. A connection of anybody else, root
 * excepted, is ended before a byte is read.
 */
export async function bindForRunner(
  path: string,
  runner: Runner,
  accept: (socket: Socket, peer: PeerCredentials) => void,
): Promise<Server> {
  checkSocketPath(path, "use a shorter vm name or a shorter XDG_RUNTIME_DIR");
  await removeTree(path);
  const server = createServer((socket) => {
    const peer = peerOf(socket);
    if (peer && (peer.uid === runner.uid || peer.uid === 0)) accept(socket, peer);
    else socket.destroy();
  });
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
  // A connection that could not be accepted, for want of descriptors, is its own client's loss.
  server.on("error", () => undefined);
  await chmod(path, 0o600);
  if (runner.uid !== ownUid()) await lchown(path, runner.uid, runner.gid);
  return server;
}

/** Whom the kernel cannot name, for one a process of a pid namespace that we do not see, is nobody. */
function peerOf(socket: Socket): PeerCredentials | undefined {
  try {
    return peerCredentials(descriptorOf(socket));
  } catch (error) {
    if (error instanceof HatchwayError) return undefined;
    throw error;
  }
}

export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
