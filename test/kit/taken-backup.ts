// A backup over the admin socket, as whoever asks for it has it: also where it ended too early.
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { decodeBackup } from "#backup/tar";
import { HatchwayError } from "#error";
import { isErrno } from "#host/files";
import { unseal } from "#test/kit/backup";

export interface BackupReader {
  recipient: string;
  /** Of the identity's file. */
  identity: Buffer;
}

export async function makeReader(): Promise<BackupReader> {
  const identity = await generateIdentity();
  return { recipient: await identityToRecipient(identity), identity: Buffer.from(`${identity}\n`) };
}

export interface TakenValue {
  name: string;
  version: number;
  text: string;
}

export interface TakenBackup {
  /** Whether all of it came, and was checked. */
  isWhole: boolean;
  /** What of it can be opened. */
  values: TakenValue[];
}

/** Undefined where it was refused, or the daemon ended before it answered. */
export async function takeBackup(socketPath: string, reader: BackupReader): Promise<TakenBackup | undefined> {
  const path = `/backup?recipients=${reader.recipient}`;
  const outgoing = request({ socketPath, method: "POST", path, agent: false });
  outgoing.end();
  const pieces: Buffer[] = [];
  try {
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
    if (incoming.statusCode !== 200) {
      incoming.resume();
      return undefined;
    }
    for await (const piece of incoming) pieces.push(piece as Buffer);
  } catch (error) {
    if (!["ECONNRESET", "ECONNREFUSED", "EPIPE", "ENOENT"].some((code) => isErrno(error, code))) throw error;
    if (pieces.length === 0) return undefined;
  }
  return open(Buffer.concat(pieces), reader);
}

async function open(file: Buffer, { identity }: BackupReader): Promise<TakenBackup> {
  const values: TakenValue[] = [];
  try {
    for await (const item of decodeBackup(unseal(file, { path: "identity", identity }))) {
      if (item.kind === "value") values.push({ name: item.name, version: item.version, text: item.bytes.toString() });
    }
    return { isWhole: true, values };
  } catch (error) {
    if (error instanceof HatchwayError && error.code === "corrupt") return { isWhole: false, values };
    throw error;
  }
}
