// How the host sees the process of a VM that something else has started.
import { once } from "node:events";
import { connect } from "node:net";
import { HatchwayError } from "#error";
import { isErrno } from "#host/files";
import { descriptorOf, peerCredentials } from "#host/peer";
import type { Adoption, Runner } from "#vm";
import type { ProcessIdentity, Sighting } from "#vmm";
import { lookByLibvirt } from "./libvirt-domain.ts";
import { plugPort } from "./plug.ts";
import { identify, ownerOf, untilGone } from "./process.ts";
import { QmpClient } from "./qmp.ts";

/** Milliseconds for a socket's connection to come about. */
const CONNECT_MS = 5_000;

/**
 * Looks who has the VM; `reset` is called whenever its guest is rebooted, where that can be seen (by a monitor of QEMU's,
 * or by libvirt). `pid` is what was said of an adoption by pid. Throws HatchwayError "not-found" while nobody has it,
 * "unavailable" where that cannot be told.
 */
export async function look(adoption: Adoption, pid: number | undefined, reset: () => void): Promise<Sighting> {
  switch (adoption.by) {
    case "uds":
      return watched(await listenerOf(adoption.path), `who listens on "${adoption.path}"`);
    case "qmp":
      return lookByMonitor(adoption.path, reset);
    case "libvirt":
      return lookByLibvirt(adoption.domain, reset);
    case "pid":
      if (pid === undefined) throw new HatchwayError("not-found", "nobody has said which process it is");
      return watched(pid, `process ${pid}`);
  }
}

/** Whose the process is that has a VM now: who can be its runner. Throws HatchwayError as `look` does. */
export async function ownerNow(adoption: Adoption, pid: number | undefined): Promise<Runner> {
  const sighting = await look(adoption, pid, () => undefined);
  sighting.close();
  return sighting.runner;
}

/** A process with its owner, looked at now and then until it is gone. Throws "not-found". */
export function watched(pid: number, what: string): Sighting {
  const { process, runner } = known(pid, what);
  const closing = new AbortController();
  return { process, runner, ended: untilGone(process, closing.signal), close: () => closing.abort() };
}

/** Throws "not-found" for a process that is gone, or that /proc does not show. */
export function known(pid: number, what: string): { process: ProcessIdentity; runner: Runner } {
  const process = identify(pid);
  const runner = ownerOf(pid);
  if (process && runner) return { process, runner };
  throw new HatchwayError("not-found", `${what} cannot be seen: there is no process ${pid}`);
}

/** The process that listens on a unix socket, by unix(7) the one that called listen(2). Nothing is said to it. */
async function listenerOf(path: string): Promise<number> {
  const socket = connect(path);
  socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error("it does not accept in time")));
  try {
    await once(socket, "connect");
    return peerCredentials(descriptorOf(socket)).pid;
  } catch (cause) {
    if (cause instanceof HatchwayError) throw cause;
    throw new HatchwayError("not-found", `nobody listens on "${path}"`, { cause });
  } finally {
    socket.destroy();
  }
}

/** By QEMU's monitor, which is ours from now on: it takes one client at a time. */
async function lookByMonitor(path: string, reset: () => void): Promise<Sighting> {
  const qmp = await monitorAt(path);
  try {
    const { pid } = qmp.peer;
    const { process, runner } = known(pid, `the QEMU of "${path}"`);
    qmp.on("event", ({ name, members }) => {
      if (name === "RESET" && members["guest"] === true) reset();
    });
    const ended = Promise.withResolvers<void>();
    qmp.once("close", () => ended.resolve());
    return {
      process,
      runner,
      ended: ended.promise,
      plug: (socket) => plugPort((command, members) => qmp.execute(command, members), socket),
      close: () => qmp.close(),
    };
  } catch (error) {
    qmp.close();
    throw error;
  }
}

async function monitorAt(path: string): Promise<QmpClient> {
  try {
    return await QmpClient.connect(path, undefined);
  } catch (error) {
    if (!(error instanceof HatchwayError)) throw error;
    if (isErrno(error.cause, "ENOENT") || isErrno(error.cause, "ECONNREFUSED")) {
      throw new HatchwayError("not-found", `nobody listens on the monitor "${path}"`, { cause: error });
    }
    const hint = "a monitor talks to one client at a time: give QEMU one for Hatchway, by another -qmp";
    throw new HatchwayError("unavailable", `the monitor "${path}": ${error.message}`, {
      ...(error.code === "timeout" && { hint }),
      cause: error,
    });
  }
}
