// push: what a VM has, into a running guest that has no agent. The other side is guest/ssh/push.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { PushRequest } from "#api-vm";
import type { Client } from "#client/client";
import { HatchwayError } from "#error";
import { packageRoot } from "#host/package-root";
import { BundleReader, encodeEnd } from "#protocol/bundle";
import { entryPath, type Manifest, type ManifestEntry } from "#protocol/manifest";
import { RESERVED_FOLDER } from "#protocol/names";
import { encodeHeader, padding } from "#protocol/ustar";
import { valueBuffer } from "#value-buffer";
import { plural } from "./quantity.ts";
import type { Session } from "./session.ts";
import { GuestScript, type SshFlags } from "./ssh-client.ts";

const MOUNTS: readonly PushRequest["mount"][] = ["tmpfs", "tmpfs,noswap", "ramfs"];

export async function pushSecrets(session: Session, [vm = ""]: readonly string[], flags: SshFlags): Promise<undefined> {
  const script = readFileSync(join(packageRoot(), "guest/ssh/push"), "utf8");
  const token = randomBytes(16).toString("hex");
  // That there is such a VM, before anybody is asked for a password.
  await session.client.vm(vm);
  await using guest = GuestScript.start(flags, script, [token]);
  // Nothing is opened before the guest has shown that it can take it.
  const mount = mountOf(await guest.line(`${token} ready `));
  const bundle = await fetchBundle(session.client, vm);
  const { revision, entries } = bundle.manifest;
  try {
    await send(guest, bundle);
  } finally {
    for (const piece of bundle.pieces) piece.fill(0);
  }
  await guest.line(`${token} done`);
  await guest.ended();
  await session.client.recordPush(vm, { revision, mount });
  session.report({ vm, guest: flags.ssh, secrets: entries.length, revision, mount }, () => {
    return `pushed ${plural(entries.length, "secret")} to "${flags.ssh}": in /run/hatchway/secrets, on ${mount}`;
  });
  const left = entries.filter(asksForMore).map(({ name }) => name);
  if (left.length > 0)
    session.warn(`only the agent makes variables, links and reactions; not made of: ${left.join(", ")}`);
}

function nothing(): void {}

interface FetchedBundle {
  manifest: Manifest;
  /** Of the tar, in order; the caller wipes them. */
  pieces: Buffer[];
}

/** The whole bundle, checked. Nothing is left of it if this throws. */
async function fetchBundle(client: Client, vm: string): Promise<FetchedBundle> {
  const pieces: Buffer[] = [];
  let manifest: Manifest | undefined;
  const reader = new BundleReader({
    manifest: (read) => (manifest = read),
    entry: nothing,
    data: nothing,
    endEntry: nothing,
  });
  try {
    await client.buildImage(vm, { format: "tar" }, (piece) => {
      const copy = valueBuffer(piece.length);
      piece.copy(copy);
      pieces.push(copy);
      reader.push(piece);
    });
    reader.end();
    if (!manifest) throw new HatchwayError("unavailable", "the daemon's bundle has no manifest");
    return { manifest, pieces };
  } catch (error) {
    for (const piece of pieces) piece.fill(0);
    throw error;
  }
}

/** The bundle with two files more before its end. A reader that has the last of them has all. */
async function send(guest: GuestScript, { manifest, pieces }: FetchedBundle): Promise<void> {
  const end = encodeEnd();
  let left = pieces.reduce((sum, { length }) => sum + length, 0) - end.length;
  for (const piece of pieces) {
    if (left > 0) await guest.send(piece.subarray(0, left));
    left -= piece.length;
  }
  await guest.send(smallFile("owners", namedOwners(manifest)));
  await guest.send(smallFile("complete", ""));
  await guest.send(end);
  guest.finish();
}

function smallFile(name: string, text: string): Buffer {
  const bytes = Buffer.from(text);
  const header = { path: `${RESERVED_FOLDER}/${name}`, mode: 0o600, uid: 0, gid: 0, uname: "", gname: "", mtime: 0 };
  return Buffer.concat([encodeHeader({ ...header, size: bytes.length }), bytes, Buffer.alloc(padding(bytes.length))]);
}

/** `USER:GROUP PATH` of each file that is somebody's by name. */
function namedOwners({ entries }: Manifest): string {
  const lines = entries.flatMap((entry) => {
    const { user, group } = entry.file ?? {};
    const isNamed = typeof user === "string" || typeof group === "string";
    return isNamed ? [`${user}:${group} ${entryPath(entry)}\n`] : [];
  });
  return lines.join("");
}

function asksForMore({ file, env, onChange }: ManifestEntry): boolean {
  return env !== undefined || file?.link !== undefined || onChange !== undefined;
}

function mountOf(word: string): PushRequest["mount"] {
  const mount = MOUNTS.find((one) => one === word);
  if (mount) return mount;
  throw new HatchwayError(
    "unavailable",
    `the guest says that it keeps files on "${word}": it should be ${MOUNTS.join(", ")}`,
  );
}
