import { mkdtemp, rename, rmdir, unlink, open, lstat, type FileHandle } from "node:fs/promises";
import { constants, type Stats } from "node:fs";
import { once } from "node:events";
import { connect, type Server, type Socket } from "node:net";
import { basename, dirname, join } from "node:path";
import { GUEST_PORT, type Accept, type ChannelVm, type Listener, type LiveChannel } from "#channel";
import { bindForRunner, closeServer } from "#channel/folder";
import { HatchwayError } from "#error";
import { errnoText, isErrno, ownUid } from "#host/files";

/** Milliseconds between two looks whether the socket still is where the VMM looks for it. */
const LOOK_MS = 2_000;

/**
 * Hybrid vsock of a VM that runs already: the socket `BASE_5107` is bound beside the one that its VMM listens on, in a
 * folder that is not ours. `isNew`: it has to work now; that of a VM which was adopted before is tried again and again,
 * since its folder may come and go with its VMM. `report` is told of a problem, once.
 */
export function adoptedVsock(base: string, isNew: boolean, report: (error: unknown) => void): LiveChannel {
  return {
    kind: "vsock",
    async listen(vm: ChannelVm, accept: Accept): Promise<Listener> {
      const listener = new AdoptedVsock(base, vm, accept, report);
      if (isNew) await listener.bind();
      listener.watch();
      return listener;
    },
  };
}

/** `made`: the folder that the socket was made in, which is gone by its name. */
interface Bound {
  server: Server;
  folder: FileHandle;
  made: FileHandle;
  name: string;
  stat: Stats;
}

class AdoptedVsock implements Listener {
  readonly kind = "vsock";
  readonly path: string;
  readonly #vm: ChannelVm;
  readonly #accept: Accept;
  readonly #report: (error: unknown) => void;
  readonly #sockets = new Set<Socket>();
  #bound: Bound | undefined;
  #timer: NodeJS.Timeout | undefined;
  #problem = "";
  #closed = false;

  constructor(base: string, vm: ChannelVm, accept: Accept, report: (error: unknown) => void) {
    this.path = base;
    this.#vm = vm;
    this.#accept = accept;
    this.#report = report;
  }

  /** Binds the socket, unless it is bound and there. Throws HatchwayError. */
  async bind(): Promise<void> {
    if (this.#bound && (await isThere(this.#bound.folder, this.path, this.#bound.stat))) return;
    await this.#release();
    const { runner, id } = this.#vm;
    const folder = await openChecked(dirname(this.path), runner.uid);
    const name = `${basename(this.path)}_${GUEST_PORT}`;
    try {
      const bound = await bindIn(folder, name, runner, (socket, pid) => {
        this.#sockets.add(socket);
        socket.once("close", () => this.#sockets.delete(socket));
        this.#accept(socket, { vmId: id, channel: "vsock", rootOnly: false, pid });
      });
      this.#bound = { ...bound, folder, name };
    } catch (error) {
      await folder.close();
      throw error;
    }
  }

  watch(): void {
    this.#timer = setTimeout(() => void this.#look(), this.#bound ? LOOK_MS : 0);
    this.#timer.unref();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#release();
  }

  async #look(): Promise<void> {
    try {
      await this.bind();
      this.#problem = "";
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (message !== this.#problem) this.#report(error);
      this.#problem = message;
    }
    if (this.#closed) await this.#release();
    else this.watch();
  }

  async #release(): Promise<void> {
    const bound = this.#bound;
    this.#bound = undefined;
    if (!bound) return;
    for (const socket of this.#sockets) socket.destroy();
    await closeServer(bound.server);
    // Until now: libuv removes what it has bound by the path that it had, which goes through this descriptor.
    await bound.made.close();
    await unlinkOurs(bound.folder, bound.name, bound.stat);
    await bound.folder.close();
  }
}

/**
 * The folder by its descriptor. Whoever else could write there could put a socket of his own in the place of ours, and
 * say to the guest what he likes. Throws "not-found", "forbidden".
 */
async function openChecked(path: string, runner: number): Promise<FileHandle> {
  const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
  let folder: FileHandle;
  try {
    folder = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) throw new HatchwayError("not-found", `there is no folder "${path}"`, { cause });
    throw new HatchwayError("forbidden", `cannot use the folder "${path}": ${errnoText(cause)}`, { cause });
  }
  const { uid, mode } = await folder.stat();
  if ((uid === runner || uid === 0) && (mode & 0o022) === 0) return folder;
  await folder.close();
  const shown = (mode & 0o7777).toString(8).padStart(4, "0");
  throw new HatchwayError(
    "forbidden",
    `the folder "${path}" is of uid ${uid} with mode ${shown}: it should be of uid ${runner}, and writable by nobody else`,
    {
      hint: `put the vsock's socket into a folder of the runner's own, made with: install -d -m 700 -o ${runner} FOLDER`,
    },
  );
}

/**
 * Binds `name` in `folder`. The runner can swap what is in there while we look, so the socket is made and given to him in
 * a folder that he can't enter, and is then moved, which takes away whatever has the name.
 */
async function bindIn(
  folder: FileHandle,
  name: string,
  runner: ChannelVm["runner"],
  accept: (socket: Socket, pid: number) => void,
): Promise<Pick<Bound, "server" | "made" | "stat">> {
  const path = join(byDescriptor(folder), name);
  await refuseTaken(path, name);
  const closed = await mkdtemp(join(byDescriptor(folder), ".hatchway-"));
  let made: FileHandle | undefined;
  try {
    made = await open(closed, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    const { uid, mode } = await made.stat();
    if (uid !== ownUid() || (mode & 0o077) !== 0) {
      throw new HatchwayError("forbidden", `somebody put another folder in the place of "${basename(closed)}"`);
    }
    const socket = join(byDescriptor(made), "s");
    const server = await bindForRunner(socket, runner, (stream, { pid }) => accept(stream, pid));
    try {
      const stat = await lstat(socket);
      await rename(socket, path);
      return { server, made, stat };
    } catch (error) {
      await closeServer(server);
      throw error;
    }
  } catch (error) {
    await made?.close();
    throw error;
  } finally {
    await rmdir(closed);
  }
}

/** Throws "conflict" where something lives at `path`; what a server left there is in nobody's way. */
async function refuseTaken(path: string, shown: string): Promise<void> {
  const stat = await statOf(path);
  if (!stat) return;
  if (!stat.isSocket()) throw new HatchwayError("conflict", `"${shown}" is there already, and no socket`);
  const probe = connect(path);
  try {
    await once(probe, "connect");
  } catch (cause) {
    if (isErrno(cause, "ECONNREFUSED") || isErrno(cause, "ENOENT")) return;
    throw new HatchwayError("conflict", `"${shown}" is in use: ${errnoText(cause)}`, { cause });
  } finally {
    probe.destroy();
  }
  throw new HatchwayError("conflict", `somebody else listens on "${shown}" for this guest`);
}

/** Whether the folder at the path still is the one that was opened, and the socket in it the one that was bound. */
async function isThere(folder: FileHandle, base: string, bound: Stats): Promise<boolean> {
  const [now, opened] = [await statOf(dirname(base)), await folder.stat()];
  if (!now || now.ino !== opened.ino || now.dev !== opened.dev) return false;
  return isSame(await statOf(`${base}_${GUEST_PORT}`), bound);
}

async function unlinkOurs(folder: FileHandle, name: string, bound: Stats): Promise<void> {
  const path = join(byDescriptor(folder), name);
  if (isSame(await statOf(path), bound)) await unlink(path);
}

function isSame(stat: Stats | undefined, bound: Stats): boolean {
  return stat !== undefined && stat.ino === bound.ino && stat.dev === bound.dev;
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** By proc(5) a way to the opened folder itself, whatever has its name by now. */
function byDescriptor(folder: FileHandle): string {
  return `/proc/self/fd/${folder.fd}`;
}
