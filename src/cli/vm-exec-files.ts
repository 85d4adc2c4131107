// The files of a VM's boot as descriptors of memory, for `vm exec`.
import { closeSync } from "node:fs";
import type { ArgumentsBody, EnrolBody } from "#api-vm";
import type { Client } from "#client/client";
import { memoryFile } from "#host/memfd";
import { BundleReader } from "#protocol/bundle";
import { entryPath } from "#protocol/manifest";
import { valueBuffer } from "#value-buffer";
import { writeWord } from "./enrol-word.ts";

/** What stands for the file, or the folder of files, in the arguments that the daemon gives; no path of a file system. */
export const FOLDER = "/hatchway-boot";

export interface BootFile {
  /** In the arguments. */
  path: string;
  /** Ours to close. */
  fd: number;
}

/** What the channel of `body` brings, opened and audited as `image build` does; nothing for a live one. */
export async function bootFiles(
  client: Client,
  vm: string,
  { channel, oem_prefix: oemPrefix = "" }: ArgumentsBody,
  forSystemd: boolean,
): Promise<BootFile[]> {
  if (channel === "disk") return [await wiped(image(client, vm, "erofs"), (bytes) => oneFile(bytes))];
  if (channel === "smbios") return [await wiped(image(client, vm, "tar"), (bytes) => oemFile(oemPrefix, bytes))];
  if (channel !== "fw-cfg") return [];
  return wiped(image(client, vm, "tar"), (tar) => (forSystemd ? unpacked(tar) : [oneFile(tar)]));
}

/** A token of the VM's, which its guest has to enrol with. */
export async function tokenFile(client: Client, vm: string, enrol: EnrolBody): Promise<BootFile> {
  const pieces: Buffer[] = [];
  try {
    await writeWord(client, vm, enrol, (piece) => void pieces.push(Buffer.from(piece)));
    return await wiped(Promise.resolve(Buffer.concat(pieces)), oneFile);
  } finally {
    for (const piece of pieces) piece.fill(0);
  }
}

async function image(client: Client, vm: string, format: "erofs" | "tar"): Promise<Buffer> {
  const pieces: Buffer[] = [];
  try {
    await client.buildImage(vm, { format }, (piece) => {
      const copy = valueBuffer(piece.length);
      piece.copy(copy);
      pieces.push(copy);
    });
    const whole = valueBuffer(pieces.reduce((size, piece) => size + piece.length, 0));
    let at = 0;
    for (const piece of pieces) at += piece.copy(whole, at);
    return whole;
  } finally {
    for (const piece of pieces) piece.fill(0);
  }
}

async function wiped<Result>(reading: Promise<Buffer>, use: (bytes: Buffer) => Result): Promise<Result> {
  const bytes = await reading;
  try {
    return use(bytes);
  } finally {
    bytes.fill(0);
  }
}

function oneFile(bytes: Uint8Array): BootFile {
  return { path: FOLDER, fd: memoryFile("hatchway-boot", bytes) };
}

const ALPHABET = Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
const PAD = 0x3d;

/** `prefix` and the bundle in base64 (RFC 4648, 4), made without a string of it. */
function oemFile(prefix: string, tar: Buffer): BootFile {
  const whole = valueBuffer(prefix.length + 4 * Math.ceil(tar.length / 3));
  try {
    let at = whole.write(prefix, "latin1");
    for (let from = 0; from < tar.length; from += 3) {
      const [a = 0, b, c] = tar.subarray(from, from + 3);
      const bits = (a << 16) | ((b ?? 0) << 8) | (c ?? 0);
      for (const shift of [18, 12, 6, 0]) whole[at++] = ALPHABET[(bits >> shift) & 63] ?? 0;
      if (b === undefined) whole[at - 2] = PAD;
      if (c === undefined) whole[at - 1] = PAD;
    }
    return oneFile(whole);
  } finally {
    whole.fill(0);
  }
}

/** Each value by itself, at its path below the folder. */
function unpacked(tar: Buffer): BootFile[] {
  const files: BootFile[] = [];
  let value: { path: string; bytes: Buffer; size: number } = { path: "", bytes: Buffer.alloc(0), size: 0 };
  const reader = new BundleReader({
    manifest: () => undefined,
    entry(entry) {
      value = { path: `${FOLDER}/${entryPath(entry)}`, bytes: valueBuffer(entry.size), size: 0 };
    },
    data(bytes) {
      value.bytes.set(bytes, value.size);
      value.size += bytes.length;
    },
    endEntry() {
      files.push({ path: value.path, fd: memoryFile("hatchway-boot", value.bytes) });
      value.bytes.fill(0);
    },
  });
  try {
    reader.push(tar);
    reader.end();
    return files;
  } catch (error) {
    value.bytes.fill(0);
    for (const { fd } of files) closeSync(fd);
    throw error;
  }
}
