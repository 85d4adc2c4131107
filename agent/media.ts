// A bundle that lies somewhere in the guest: on a disk that the host made, in a folder that it shares, in a file. Nobody
// listens there. It is taken only as whole as the manifest says, and never in place of what a live host has brought.
import type { BundleSink } from "#protocol/bundle";
import { ProtocolError } from "#protocol/error";
import { SHARED_SEALED } from "#protocol/share";
import { BundleFiles } from "./bundle-file.ts";
import { withDisk, type Trust } from "./disk.ts";
import { AgentError } from "./error.ts";
import { readFolder, readManifest } from "./folder.ts";
import { mountOf } from "./mounts.ts";
import type { Origin } from "./origin.ts";
import { describeOwner, isRoots, openPrivate } from "./private.ts";
import { reading } from "./reading.ts";
import { openRevision, partsOf, shownRevision } from "./share.ts";
import { formatSource, type MediaSource } from "./source.ts";
import { poll } from "./stream.ts";
import { HERE, type Fd, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { isType, readFile, S_IFDIR, S_IFREG, statOrNone, using } from "./tree.ts";

/** How often a share is looked at for another revision. Nothing else changes while the guest runs. */
const LOOK_MS = 2_000;

export class Media implements Origin {
  readonly source: MediaSource;
  readonly #sys: Sys;
  readonly #trust: Trust;
  readonly #files: BundleFiles;

  /** `trust`: "any" only when somebody has named the source. `key` opens what is sealed, and is wiped. */
  constructor(sys: Sys, source: MediaSource, trust: Trust, key: () => Uint8Array) {
    this.#sys = sys;
    this.source = source;
    this.#trust = trust;
    this.#files = new BundleFiles(sys, key);
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
    if (source.kind === "file") {
      return using(sys, openPrivate(sys, source.path), (fd) => this.#readFile(fd, `"${source.path}"`, have, sink));
    }
    if (source.kind === "dir") {
      return using(sys, openShare(sys, source.path), (dir) => {
        if (!statOrNone(sys, dir, SHARED_SEALED)) return this.#readShare(dir, have, sink);
        return using(sys, openSealedShare(sys, dir, source.path), (fd) =>
          this.#readFile(fd, `"${source.path}/${SHARED_SEALED}"`, have, sink),
        );
      });
    }
    return withDisk(sys, source, this.#trust, {
      folder: (dir) => this.#readBelow(dir, have, sink),
      sealed: (fd) => this.#files.read({ fd, name: "the disk", isDisk: true }, have, sink),
    });
  }

  #readFile(fd: Fd, name: string, have: string | undefined, sink: BundleSink): "changed" | "same" {
    return this.#files.read({ fd, name, isDisk: false }, have, sink);
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
    const isWhole = statOrNone(sys, dir, SHARED_SEALED) !== undefined;
    for (const part of isWhole ? [".", SHARED_SEALED] : partsOf(shownRevision(sys, dir))) {
      const stat = reading(`"${path}/${part}"`, () => sys.fstatat(dir, part));
      const wanted = isType(stat, part === SHARED_SEALED || part.endsWith(".json") ? S_IFREG : S_IFDIR);
      if (wanted && isRoots(stat, 0o022)) continue;
      const is = describeOwner(stat);
      throw new AgentError("machine", `"${path}/${part}" should be root's alone to write, ${is}: mount it read-only`);
    }
    return dir;
  } catch (error) {
    sys.close(dir);
    throw error;
  }
}

/** Nothing is followed on the way, and a pipe makes nobody wait. */
function openSealedShare(sys: Sys, dir: Fd, path: string): Fd {
  const flags = sys.O_RDONLY | sys.O_NOFOLLOW | sys.O_NONBLOCK;
  const fd = reading(`"${path}/${SHARED_SEALED}"`, () => sys.openat(dir, SHARED_SEALED, flags));
  if (isType(sys.fstat(fd), S_IFREG)) return fd;
  sys.close(fd);
  throw new AgentError("machine", `"${path}/${SHARED_SEALED}" should be a file`);
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
