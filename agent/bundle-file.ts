// A bundle as one file, or as a disk that has nothing else on it, in one of three forms, which its first bytes tell: a tar;
// an age file of one; a sealed image (#protocol/sealed) of one. It is read once, in pieces.
import { BundleReader, type BundleSink } from "#protocol/bundle";
import { ProtocolError } from "#protocol/error";
import type { Manifest, ManifestEntry } from "#protocol/manifest";
import { isSealed, parseSealHeader, SEAL_HEADER, SEAL_SECTOR, type SealHeader } from "#protocol/sealed";
import type { TarHeader } from "#protocol/ustar";
import { AgeReader, isAge } from "./age.ts";
import { isEqual } from "./primitives.ts";
import { reading } from "./reading.ts";
import type { Fd, Sys } from "./sys.ts";

const PIECE = 65_536;

export interface BundleFile {
  /** At its beginning. */
  fd: Fd;
  /** For messages. */
  name: string;
  /** A disk may be larger than what is on it; behind a file's end nothing may stand. */
  isDisk: boolean;
}

/** Reads bundle files; knows again without the key what it has read last of what is sealed. */
export class BundleFiles {
  readonly #sys: Sys;
  readonly #key: () => Uint8Array;
  /** Of what was sealed: its first bytes, which hold a digest or a random share, so that no other begins with them. */
  #last: { head: Uint8Array; revision: string } | undefined;

  /** `key` opens what is sealed; it is wiped after each use. */
  constructor(sys: Sys, key: () => Uint8Array) {
    this.#sys = sys;
    this.#key = key;
  }

  /**
   * Gives the bundle to the sink, but for one of revision `have`: that is "same", and not read to its end. What reached the
   * sink is void unless this returns "changed". Throws ProtocolError, and AgentError for what can't be read.
   */
  read(file: BundleFile, have: string | undefined, sink: BundleSink): "changed" | "same" {
    const piece = new Uint8Array(PIECE);
    try {
      const head = piece.slice(0, this.#fill(file, piece.subarray(0, SEAL_HEADER)));
      const fresh = new Fresh(have, sink);
      if (!isSealed(head) && !isAge(head)) return this.#readAll(file, head, piece, fresh, new BundleReader(fresh));
      if (this.#last && have === this.#last.revision && isEqual(head, this.#last.head)) return "same";
      const is = this.#unseal(fresh, (age) =>
        isSealed(head)
          ? this.#readImage(file, parseSealHeader(head), piece, fresh, age)
          : this.#readAll(file, head, piece, fresh, age),
      );
      this.#last = { head, revision: fresh.revision };
      return is;
    } finally {
      this.#sys.wipe(piece);
    }
  }

  #readAll(file: BundleFile, head: Uint8Array, piece: Uint8Array, fresh: Fresh, reader: Reader): "changed" | "same" {
    for (let part = head; part.length > 0 && !fresh.isSame; part = piece.subarray(0, this.#fill(file, piece))) {
      reader.push(part);
    }
    return ended(reader, fresh);
  }

  /** Each chunk of age has a tag of its own, so that the header's digest need not be computed again. */
  #readImage(
    file: BundleFile,
    { format, length }: SealHeader,
    piece: Uint8Array,
    fresh: Fresh,
    age: Reader,
  ): "changed" | "same" {
    if (format !== "tar")
      throw new ProtocolError(`sealed image: it holds ${format}, and the agent opens a bundle's tar`);
    for (let left = length; left > 0;) {
      const count = this.#fill(file, piece.subarray(0, Math.min(left, PIECE)));
      if (count === 0) throw new ProtocolError("sealed image: it ends in the middle");
      age.push(piece.subarray(0, count));
      if (fresh.isSame) return "same";
      left -= count;
    }
    this.#checkEnd(file, length, piece);
    return ended(age, fresh);
  }

  /** Only zeros stand behind the age file, up to the end of its sector; and behind that nothing, in a file. */
  #checkEnd(file: BundleFile, length: number, piece: Uint8Array): void {
    const padding = (SEAL_SECTOR - ((SEAL_HEADER + length) % SEAL_SECTOR)) % SEAL_SECTOR;
    const rest = piece.subarray(0, this.#fill(file, piece.subarray(0, padding + (file.isDisk ? 0 : 1))));
    if (rest.length === padding && rest.every((byte) => byte === 0)) return;
    throw new ProtocolError("sealed image: what stands behind it is not its padding");
  }

  /** Runs `act` with what opens an age file of a bundle. */
  #unseal(fresh: Fresh, act: (reader: Reader) => "changed" | "same"): "changed" | "same" {
    const reader = new BundleReader(fresh);
    const age = new AgeReader(this.#sys, this.#key, (plain) => {
      if (!fresh.isSame) reader.push(plain);
    });
    try {
      return act({
        push: (bytes) => age.push(bytes),
        end: () => {
          age.end();
          if (!fresh.isSame) reader.end();
        },
      });
    } finally {
      age.close();
    }
  }

  /** How much of it was filled: less than all only at the end. */
  #fill({ fd, name }: BundleFile, into: Uint8Array): number {
    let length = 0;
    while (length < into.length) {
      const count = reading(name, () => this.#sys.read(fd, into.subarray(length)));
      if (count === 0) break;
      length += count;
    }
    return length;
  }
}

interface Reader {
  push(bytes: Uint8Array): void;
  end(): void;
}

/** The last of an age file is opened at its end: only then it may turn out to be what is there already. */
function ended(reader: Reader, fresh: Fresh): "changed" | "same" {
  if (!fresh.isSame) reader.end();
  return fresh.isSame ? "same" : "changed";
}

/** Passes a bundle on, but for one of the revision that is there already. */
class Fresh implements BundleSink {
  readonly have: string | undefined;
  readonly #sink: BundleSink;
  isSame = false;
  revision = "";

  constructor(have: string | undefined, sink: BundleSink) {
    this.have = have;
    this.#sink = sink;
  }

  manifest(manifest: Manifest, json: Uint8Array): void {
    this.revision = manifest.revision;
    this.isSame = manifest.revision === this.have;
    if (!this.isSame) this.#sink.manifest(manifest, json);
  }

  entry(entry: ManifestEntry, header: TarHeader): void {
    if (!this.isSame) this.#sink.entry(entry, header);
  }

  data(bytes: Uint8Array): void {
    if (!this.isSame) this.#sink.data(bytes);
  }

  endEntry(): void {
    if (!this.isSame) this.#sink.endEntry();
  }
}
