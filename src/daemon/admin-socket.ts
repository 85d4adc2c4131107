// The unix socket of the admin API: one daemon has it, and who may open it is said by its mode and group.
import { chmod, lchown, readFile, rm } from "node:fs/promises";
import type { Server } from "node:http";
import type { Server as TlsServer } from "node:https";
import { connect } from "node:net";
import { once } from "node:events";
import { HatchwayError } from "#error";
import { errnoText, isErrno, ownUid } from "#host/files";

/** Another daemon, of another state directory, may serve on the same socket. */
export async function refuseSecond(socket: string): Promise<void> {
  const probe = connect(socket);
  try {
    await once(probe, "connect");
  } catch (cause) {
    if (isErrno(cause, "ENOENT")) return;
    // Nobody listens: it was left behind. Anything else, such as a queue that is full, is a daemon that lives.
    if (isErrno(cause, "ECONNREFUSED")) return rm(socket, { force: true });
    throw new HatchwayError("locked", `"${socket}" is in use: ${errnoText(cause)}`, { cause });
  } finally {
    probe.destroy();
  }
  throw new HatchwayError("locked", `another daemon serves on "${socket}"`);
}

/** Listens at `socket`; on `inherited`, which listens there already, and then stays when we end. */
export async function listenAdmin(
  admin: Server,
  mode: "system" | "session",
  socket: string,
  inherited: number | undefined,
): Promise<void> {
  admin.listen(inherited === undefined ? { path: socket } : { fd: inherited });
  await once(admin, "listening");
  // A connection that could not be accepted, for want of descriptors, is its own client's loss.
  admin.on("error", () => undefined);
  const group = mode === "system" ? await groupId("hatchway") : undefined;
  if (group !== undefined) await lchown(socket, ownUid(), group);
  await chmod(socket, group === undefined ? 0o600 : 0o660);
}

/** The gid of a group of this host (group(5)), undefined where there is none. */
async function groupId(name: string): Promise<number | undefined> {
  const lines = (await readFile("/etc/group", "utf8")).split("\n");
  const fields = lines.map((line) => line.split(":")).find(([group]) => group === name);
  return fields ? Number(fields[2]) : undefined;
}

export async function closeAdmin(admin: Server | TlsServer): Promise<void> {
  const closed = new Promise<void>((resolve) => admin.close(() => resolve()));
  admin.closeIdleConnections();
  // What is being answered may end; who waits for a change does not hold up the end.
  const late = setTimeout(() => admin.closeAllConnections(), 500);
  await closed;
  clearTimeout(late);
}
