// A backup as a tar (POSIX ustar, protocol/ustar.ts), which `tar tv` lists:
//
//   backup.json             how much there is, and of which store and revision
//   secrets/NAME.json       for each secret, by name; after it
//   values/NAME/VERSION     each version that is kept, newest first
//   vms/NAME.json           for each VM, by name
//   end.json                {"sha256": of all bytes before this file}
//   1,024 zeros             and nothing after
//
// Whoever reads it takes it whole or not at all: order, counts, sizes and the digest are checked.
import { createHash } from "node:crypto";
import type { BackupHead, BackupItem, BackupSecret, BackupVm } from "#backup";
import { HatchwayError } from "#error";
import { BLOCK, decodeHeader, encodeHeader, padding, type TarHeader } from "#protocol/ustar";
import { valueBuffer } from "#value-buffer";
import { Source } from "./source.ts";
import { decodeHead, decodeSecret, decodeVm, encodeWords, MAX_JSON } from "./words.ts";

const HEAD = "backup.json";
const END = "end.json";
const TAIL = 2 * BLOCK;
const HEX_OF_NOTHING = "0".repeat(64);

const secretPath = (name: string): string => `secrets/${name}.json`;
const vmPath = (name: string): string => `vms/${name}.json`;
const valuePath = (name: string, version: number): string => `values/${name}/${version}`;

const fileSize = (size: number): number => BLOCK + size + padding(size);

/** Bytes of the tar of these. */
export function tarSize(head: BackupHead, secrets: Iterable<BackupSecret>, vms: Iterable<BackupVm>): number {
  let size = fileSize(encodeWords(head).length) + fileSize(encodeWords({ sha256: HEX_OF_NOTHING }).length) + TAIL;
  for (const secret of secrets) {
    size += fileSize(encodeWords(secret).length);
    for (const version of secret.versions) size += fileSize(version.size);
  }
  for (const vm of vms) size += fileSize(encodeWords(vm).length);
  return size;
}

/** The tar of what comes, in pieces. Who takes a piece is done with it when he asks for the next. */
export async function* encodeBackup(items: AsyncIterable<BackupItem>): AsyncGenerator<Buffer> {
  const digest = createHash("sha256");
  let mtime = 0;
  for await (const item of items) {
    if (item.kind === "head") mtime = Math.floor(Date.parse(item.head.made_at) / 1000);
    for (const piece of pieces(...fileOf(item), mtime)) {
      digest.update(piece);
      yield piece;
    }
  }
  yield* pieces(END, encodeWords({ sha256: digest.digest("hex") }), mtime);
  yield Buffer.alloc(TAIL);
}

function fileOf(item: BackupItem): [path: string, bytes: Buffer] {
  switch (item.kind) {
    case "head":
      return [HEAD, encodeWords(item.head)];
    case "secret":
      return [secretPath(item.secret.name), encodeWords(item.secret)];
    case "value":
      return [valuePath(item.name, item.version), item.bytes];
    case "vm":
      return [vmPath(item.vm.name), encodeWords(item.vm)];
  }
}

function pieces(path: string, bytes: Buffer, mtime: number): Buffer[] {
  const header = { path, mode: 0o600, uid: 0, gid: 0, uname: "", gname: "", size: bytes.length, mtime };
  const all = [Buffer.from(encodeHeader(header)), bytes, Buffer.alloc(padding(bytes.length))];
  return all.filter((piece) => piece.length > 0);
}

/**
 * Reads a tar of a backup. All has been checked when it ends, and not before: what came until then may be of a backup
 * that is not whole. Throws "corrupt", and "unsupported" for a newer format.
 */
export async function* decodeBackup(chunks: AsyncIterable<Buffer>): AsyncGenerator<BackupItem> {
  await using source = new Source(chunks);
  let next = await nextHeader(source);
  const words = async (): Promise<Buffer> => fileBytes(source, next, MAX_JSON);
  if (next.path !== HEAD) throw corrupt(`it begins with "${next.path}", not with "${HEAD}"`);
  const head = decodeHead(await words());
  yield { kind: "head", head };
  const seen = { secrets: 0, vms: 0, values: 0, bytes: 0 };
  const names = new Set<string>();
  let before = source.digest();
  next = await nextHeader(source);
  while (next.path.startsWith("secrets/")) {
    const secret = decodeSecret(await words(), next.path);
    if (next.path !== secretPath(secret.name)) throw corrupt(`"${next.path}" is of secret "${secret.name}"`);
    once(names, next.path);
    seen.secrets++;
    yield { kind: "secret", secret };
    for (const { version, size } of secret.versions) {
      next = await nextHeader(source);
      const path = valuePath(secret.name, version);
      if (next.path !== path || next.size !== size)
        throw corrupt(`"${path}" is missing, or not as long as it should be`);
      seen.values++;
      seen.bytes += size;
      const bytes = await fileBytes(source, next, size);
      try {
        yield { kind: "value", name: secret.name, version, bytes };
      } finally {
        bytes.fill(0);
      }
    }
    before = source.digest();
    next = await nextHeader(source);
  }
  while (next.path.startsWith("vms/")) {
    const vm = decodeVm(await words(), next.path);
    if (next.path !== vmPath(vm.name)) throw corrupt(`"${next.path}" is of vm "${vm.name}"`);
    once(names, next.path);
    seen.vms++;
    yield { kind: "vm", vm };
    before = source.digest();
    next = await nextHeader(source);
  }
  if (next.path !== END) throw corrupt(`"${next.path}" is not where it belongs`);
  if (!(await words()).equals(encodeWords({ sha256: before }))) throw corrupt("its digest is another");
  for (const key of ["secrets", "vms", "values", "bytes"] as const) {
    if (seen[key] !== head[key]) throw corrupt(`it says ${head[key]} ${key} and has ${seen[key]}`);
  }
  const tail = await source.take(Buffer.alloc(TAIL));
  if (tail.some((byte) => byte !== 0) || !(await source.isOver())) throw corrupt("something follows its end");
}

async function nextHeader(source: Source): Promise<TarHeader> {
  const block = await source.take(Buffer.alloc(BLOCK));
  try {
    return decodeHeader(block);
  } catch (cause) {
    throw corrupt(cause instanceof Error ? cause.message : "not a tar", cause);
  }
}

/** The file's bytes, for the caller to wipe. */
async function fileBytes(source: Source, { path, size }: TarHeader, most: number): Promise<Buffer> {
  if (size > most) throw corrupt(`"${path}" has ${size} bytes, more than ${most}`);
  const bytes = valueBuffer(size);
  try {
    await source.take(bytes);
    const rest = await source.take(Buffer.alloc(padding(size)));
    if (rest.some((byte) => byte !== 0)) throw corrupt(`what follows "${path}" is not zeros`);
    return bytes;
  } catch (error) {
    bytes.fill(0);
    throw error;
  }
}

function once(names: Set<string>, path: string): void {
  if (names.has(path)) throw corrupt(`"${path}" is there twice`);
  names.add(path);
}

function corrupt(what: string, cause?: unknown): HatchwayError {
  return new HatchwayError("corrupt", `the backup is damaged: ${what}`, cause === undefined ? {} : { cause });
}
