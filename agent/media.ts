// A bundle that lies somewhere in the guest: on a disk that the host made, in a folder that it shares, in a file. Nobody
// listens there. It is taken only as whole as the manifest says, and never in place of what a live host has brought.
import { BundleReader, type BundleSink } from "#protocol/bundle";
import { ProtocolError } from "#protocol/error";
import { withDisk, type Trust } from "./disk.ts";
import { AgentError } from "./error.ts";
import { readFolder, readManifest } from "./folder.ts";
import { mountOf } from "./mounts.ts";
import type { Origin } from "./origin.ts";
import { reading } from "./reading.ts";
import { openRevision, partsOf, shownRevision } from "./share.ts";
import { formatSource, type MediaSource } from "./source.ts";
import { poll } from "./stream.ts";
import { HERE, type Fd, type Stat, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { isType, readFile, S_IFDIR, S_IFREG, using } from "./tree.ts";

/** How often a share is looked at for another revision. Nothing else changes while the guest runs. */
const LOOK_MS = 2_000;
const PIECE = 65_536;

export class Media implements Origin {
  readonly source: MediaSource;
  readonly #sys: Sys;
  readonly #trust: Trust;

  /** `trust`: "any" only when somebody has named the source. */
  constructor(sys: Sys, source: MediaSource, trust: Trust) {
    this.#sys = sys;
    this.source = source;
    this.#trust = trust;
  }

  bundle(have: string | undefined, waitSeconds: number, sink: BundleSink): "changed" | "same" {
    const end = this.#sys.monotonic() + waitSeconds * 1000;
    for (;;) {
      if (this.#read(have, sink) === "changed") return "changed";
      const left = end - this.#sys.monotonic();
      if (left <= 0) return "same";
      poll(this.#sys, -1, 0, Math.ceil(this.source.kind === "dir" ? Math.min(left, LOOK_MS) : left));
    }
  }

  receipt(): void {}

  close(): void {}

  #read(have: string | undefined, sink: BundleSink): "changed" | "same" {
    const sys = this.#sys;
    const { source } = this;
    if (source.kind === "file") return readTar(sys, source.path, have, sink);
    if (source.kind === "dir") {
      return using(sys, openShare(sys, source.path), (dir) => this.#readShare(dir, have, sink));
    }
    return withDisk(sys, source, this.#trust, (dir) => this.#readBelow(dir, have, sink));
  }

  /** Of a share with sets the one that it shows now; nothing of it changes while it is read. */
  #readShare(dir: Fd, have: string | undefined, sink: BundleSink): "changed" | "same" {
    const revision = shownRevision(this.#sys, dir);
    if (revision === undefined) return this.#readBelow(dir, have, sink);
    if (revision === have) return "same";
    return using(this.#sys, openRevision(this.#sys, dir, revision), (set) => this.#readBelow(set, have, sink));
  }

  #readBelow(dir: Fd, have: string | undefined, sink: BundleSink): "changed" | "same" {
    const manifest = readManifest(this.#sys, dir);
    if (manifest.revision === have) return "same";
    const shared = this.source.kind === "dir";
    readFolder(this.#sys, dir, manifest, shared ? "loose" : "exact", sink);
    if (shared && readManifest(this.#sys, dir).revision !== manifest.revision) {
      throw new ProtocolError("folder: it changed while it was read");
    }
    return "changed";
  }
}

/** A share that only root of the guest can write to, or that nobody can. */
function openShare(sys: Sys, path: string): Fd {
  const dir = reading(`"${path}"`, () => sys.openat(HERE, path, sys.O_RDONLY | sys.O_DIRECTORY | sys.O_NOFOLLOW));
  try {
    const canonical = sys.readlinkat(HERE, `/proc/self/fd/${dir}`);
    const mount = mountOf(decodeUtf8(readFile(sys, HERE, "/proc/self/mountinfo", 4_194_304)), canonical);
    if (mount?.readOnly === true) return dir;
    for (const part of partsOf(shownRevision(sys, dir))) {
      const stat = reading(`"${path}/${part}"`, () => sys.fstatat(dir, part));
      const wanted = isType(stat, part.endsWith(".json") ? S_IFREG : S_IFDIR);
      if (wanted && isRoots(stat, 0o022)) continue;
      const is = describe(stat);
      throw new AgentError("machine", `"${path}/${part}" should be root's alone to write, ${is}: mount it read-only`);
    }
    return dir;
  } catch (error) {
    sys.close(dir);
    throw error;
  }
}

/** Twice from the start: first whether it is whole and new, since the sink shall see nothing of what is not. */
function readTar(sys: Sys, path: string, have: string | undefined, sink: BundleSink): "changed" | "same" {
  let revision: string | undefined;
  const first: BundleSink = {
    manifest: (manifest) => {
      revision = manifest.revision;
    },
    entry() {},
    data() {},
    endEntry() {},
  };
  readOnce(sys, path, first);
  if (revision === have) return "same";
  readOnce(sys, path, sink);
  return "changed";
}

function readOnce(sys: Sys, path: string, sink: BundleSink): void {
  const flags = sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK;
  using(
    sys,
    reading(`"${path}"`, () => sys.openat(HERE, path, flags)),
    (fd) => {
      const stat = sys.fstat(fd);
      if (!isType(stat, S_IFREG)) throw new AgentError("machine", `"${path}" should be a file`);
      if (!isRoots(stat, 0o077)) {
        throw new AgentError("machine", `"${path}" should be root's alone, 0600, ${describe(stat)}`);
      }
      const reader = new BundleReader(sink);
      const piece = new Uint8Array(PIECE);
      try {
        for (;;) {
          const count = reading(`"${path}"`, () => sys.read(fd, piece));
          if (count === 0) break;
          reader.push(piece.subarray(0, count));
        }
      } finally {
        sys.wipe(piece);
      }
      reader.end();
    },
  );
}

function isRoots({ uid, mode }: Stat, others: number): boolean {
  return uid === 0 && (mode & others) === 0;
}

function describe({ uid, mode }: Stat): string {
  return `it is uid ${uid}'s, mode ${(mode & 0o777).toString(8)}`;
}

/**
 * Whoever plants a disk or a file must not replace what the host itself has brought since the boot. `before`: the source
 * of the set in force, empty when there is none.
 */
export function refuseAfterLive(source: MediaSource, before: string): void {
  if (before === "" || /^(?:fw-cfg$|smbios$|label:|serial:|dir:|file:)/.test(before)) return;
  throw new AgentError(
    "machine",
    `this guest has its secrets by ${before}: ${formatSource(source)} cannot replace them before it has rebooted`,
  );
}
