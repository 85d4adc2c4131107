// What a host, a share, a disk or the firmware can send, given to the parts of the agent that read it: by scripts/fuzz-agent
// to a build that checks its own memory, and by the same run to Node, which must say the same of it.
import { parseIdentity } from "#protocol/age-identity";
import { BundleReader, type BundleSink } from "#protocol/bundle";
import { parseEnrolWord } from "#protocol/enrol";
import { ProtocolError } from "#protocol/error";
import { asciiBytes } from "#protocol/json";
import { AgentError } from "./error.ts";
import { Firmware } from "./firmware.ts";
import { HttpClient } from "./http.ts";
import { Media } from "./media.ts";
import { readPolicy } from "./policy.ts";
import type { Connection } from "./stream.ts";
import { parseSuperblock } from "./superblock.ts";
import { HERE, SysError, type Sys } from "./sys.ts";
import { using } from "./tree.ts";

/** That of test/vectors/age: it opens nothing else. */
const KEY = "AGE-SECRET-KEY-1HCXTAUTMNGEXMXUJZUUUNPANQYF0FRNU4F0AHFAAKL2XPCX6AGVQJ78HKD";
const key = (): Uint8Array => parseIdentity(asciiBytes(KEY));

/** "taken" or "refused"; what is neither is thrown. */
export type Verdict = "taken" | "refused";
type Reader = (input: Uint8Array) => unknown;

/** By name; `scratch` is a folder of root's for what is read from a file. */
export function fuzzTargets(sys: Sys, scratch: string): Readonly<Record<string, Reader>> {
  const firmware = redirected(sys, "/sys/firmware/", `${scratch}/`);
  const fwCfg = `${scratch}/qemu_fw_cfg/by_name/opt/io.systemd.credentials/hatchway.bundle/raw`;
  const inFile =
    (path: string, read: () => unknown): Reader =>
    (input) => {
      replace(sys, path, input);
      return read();
    };
  return {
    bundle: (input) => inPieces(input, 700, new BundleReader(new Ignored())),
    http: (input) => readAnswer(sys, input),
    "fw-cfg": inFile(fwCfg, () => new Firmware(firmware, { kind: "fw-cfg" }).bundle(undefined, 0, new Ignored())),
    smbios: inFile(`${scratch}/dmi/entries/11-0/raw`, () =>
      new Firmware(firmware, { kind: "smbios" }).bundle(undefined, 0, new Ignored()),
    ),
    superblock: (input) => parseSuperblock(input),
    policy: inFile(`${scratch}/policy`, () => readPolicy(sys, `${scratch}/policy`)),
    file: inFile(`${scratch}/bundle.tar`, () =>
      new Media(sys, { kind: "file", path: `${scratch}/bundle.tar` }, "any", key).bundle(undefined, 0, new Ignored()),
    ),
    identity: (input) => parseIdentity(input),
    word: (input) => parseEnrolWord(input),
    share: inFile(`${scratch}/share/.hatchway/manifest.json`, () =>
      new Media(sys, { kind: "dir", path: `${scratch}/share` }, "any", key).bundle(undefined, 0, new Ignored()),
    ),
  };
}

export function verdictOf(read: Reader, input: Uint8Array): Verdict {
  try {
    read(input);
    return "taken";
  } catch (error) {
    if (error instanceof ProtocolError || error instanceof AgentError || error instanceof SysError) return "refused";
    throw error;
  }
}

/** Takes all, keeps nothing. */
class Ignored implements BundleSink {
  manifest(): void {}
  entry(): void {}
  data(): void {}
  endEntry(): void {}
}

function inPieces(input: Uint8Array, size: number, reader: BundleReader): void {
  for (let at = 0; at < input.length; at += size) reader.push(input.subarray(at, at + size));
  reader.end();
}

function readAnswer(sys: Sys, input: Uint8Array): void {
  const client = new HttpClient(sys, new Said(input, 500));
  const reader = new BundleReader(new Ignored());
  const head = client.exchange({ method: "GET", path: "/" }, 1_000, ({ status }) =>
    status === 200 ? (piece) => reader.push(piece) : () => undefined,
  );
  if (head.status === 200) reader.end();
}

/** A host that has said everything, and gives it in pieces of that size. */
export class Said implements Connection {
  readonly #size: number;
  #rest: Uint8Array;

  constructor(bytes: Uint8Array, size: number) {
    this.#rest = bytes;
    this.#size = size;
  }

  send(): void {}

  receive(into: Uint8Array): number {
    const part = this.#rest.subarray(0, Math.min(this.#size, into.length));
    if (part.length === 0) throw new AgentError("host-gone", "the connection ended");
    into.set(part);
    this.#rest = this.#rest.subarray(part.length);
    return part.length;
  }

  close(): void {}
}

function replace(sys: Sys, path: string, bytes: Uint8Array): void {
  using(sys, sys.openat(HERE, path, sys.O_WRONLY | sys.O_CREAT | sys.O_TRUNC, 0o600), (fd) => {
    for (let at = 0; at < bytes.length; at += sys.write(fd, bytes.subarray(at)));
  });
}

/** The same machine, but for what lies below a folder. */
function redirected(sys: Sys, from: string, to: string): Sys {
  const moved = (path: string): string => (path.startsWith(from) ? to + path.slice(from.length) : path);
  return {
    ...sys,
    openat: (dir, path, flags, mode) => sys.openat(dir, moved(path), flags, mode),
    openat2: (dir, path, flags, mode, resolve) => sys.openat2(dir, moved(path), flags, mode, resolve),
    fstatat: (dir, path) => sys.fstatat(dir, moved(path)),
  };
}

/** Reads exactly `size` bytes; undefined at the end. */
export function readExactly(sys: Sys, fd: number, size: number): Uint8Array | undefined {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size;) {
    const count = sys.read(fd, bytes.subarray(at));
    if (count === 0) return undefined;
    at += count;
  }
  return bytes;
}
