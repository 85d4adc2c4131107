// fetch: what the host's sshd runs for a VM's key, instead of whatever the guest asks for. It joins the guest's connection
// to the VM's socket, and has no say in anything: the daemon answers, as it would by any other channel.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { HatchwayError } from "#error";
import { hideMemory } from "#host/libc";
import type { Session } from "./session.ts";

export async function fetchBySsh({ terminal }: Session, [path = ""]: readonly string[]): Promise<undefined> {
  const { stdin, stdout, env } = terminal;
  // sshd puts there what the guest wanted to be run instead (sshd(8), command=).
  if ((env["SSH_ORIGINAL_COMMAND"] ?? "") !== "") {
    throw new HatchwayError("forbidden", "this key is for the secrets of one vm, and runs no command");
  }
  // What is passed on stands in this process for a moment.
  hideMemory();
  const socket = await reach(path);
  try {
    await Promise.race([pass(stdin, socket), pass(socket, stdout)]);
  } finally {
    socket.destroy();
    stdin.destroy();
  }
}

async function reach(path: string): Promise<Socket> {
  const socket = connect(path);
  try {
    await once(socket, "connect");
    return socket;
  } catch (cause) {
    throw new HatchwayError("unavailable", `nobody answers at "${path}" on this host`, { cause });
  }
}

/** Until `from` ends. Either may go away at any moment, which ends both and is no fault. */
async function pass(from: Readable, to: Writable): Promise<void> {
  try {
    for await (const chunk of from as AsyncIterable<Buffer>) {
      await write(to, chunk);
      chunk.fill(0);
    }
  } catch (error) {
    if (!GONE.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

const GONE = new Set(["EPIPE", "ECONNRESET", "ERR_STREAM_PREMATURE_CLOSE", "ERR_STREAM_DESTROYED"]);

/** Resolves when the bytes are out. */
function write(to: Writable, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    to.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}
