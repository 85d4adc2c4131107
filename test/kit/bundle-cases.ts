// The good bundle vectors, and what all vectors are made of. Written to test/vectors/bundle/ by scripts/make-vectors.ts.
import { createHash } from "node:crypto";
import { octal, tarArchive, tarFile, type RawHeader } from "#test/kit/tar";

/** A file that a good vector holds, as `tar` and the guest should see it. */
export interface ExpectedFile {
  path: string;
  mode: string;
  uid: number;
  gid: number;
  owner: string;
  group: string;
  size: number;
  sha256: string;
}

export interface BundleCase {
  /** Under test/vectors/bundle/. */
  file: string;
  outcome: "ok" | "refused";
  /** Text that the refusal's message holds; empty when it is accepted. */
  rule: string;
  about: string;
  /** The values of an accepted bundle, in order. */
  files?: ExpectedFile[];
  bytes: Buffer;
}

/** A manifest in JSON, keys in their order, whatever is wrong with it. */
export function manifestText(entries: unknown, top: Record<string, unknown> = {}): string {
  const plain = { format: 1, vm: "web-1", revision: "e1.1.7", mountRoot: "/run/hatchway/secrets" };
  return JSON.stringify({ ...plain, ...top, entries });
}

/** The manifest's file. */
export function manifestFile(text: string, fields: Partial<RawHeader> = {}): Buffer {
  return tarFile({ name: ".hatchway/manifest.json", ...fields }, text);
}

interface GoodEntry {
  /** The manifest's entry, keys in their order; its size is that of `content`. */
  entry: {
    name: string;
    version?: number;
    path?: string;
    mode?: string;
    uid?: number;
    owner?: string;
    gid?: number;
    group?: string;
    env?: string;
    link?: string;
    onChange?: unknown;
  };
  content: Buffer;
  mtime?: number;
  /** Whether the value is left out, as in a live answer. */
  absent?: boolean;
}

const root = { mode: "0600", uid: 0, gid: 0 };
const filled = (size: number): Buffer => Buffer.alloc(size, "hatchway vector ");

function good(file: string, about: string, entries: GoodEntry[], top?: Record<string, unknown>): BundleCase {
  const text = manifestText(
    entries.map(({ entry: { name, version = 1, ...rest }, content }) =>
      Object.assign({ name, version, size: content.length }, rest),
    ),
    top,
  );
  const there = entries.filter(({ absent }) => absent !== true);
  const files = there.map(({ entry, content }) => expectedFile(entry, content));
  const blocks = there.map(({ content, mtime = 1_700_000_000 }, at) =>
    valueFile(files[at] as ExpectedFile, content, mtime),
  );
  return {
    file: `good-${file}.tar`,
    outcome: "ok",
    rule: "",
    about,
    files,
    bytes: tarArchive(manifestFile(text), ...blocks),
  };
}

function expectedFile(entry: GoodEntry["entry"], content: Buffer): ExpectedFile {
  return {
    path: entry.path ?? `.hatchway/values/${entry.env}`,
    mode: entry.mode ?? "0600",
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    owner: entry.owner ?? "",
    group: entry.group ?? "",
    size: content.length,
    sha256: createHash("sha256").update(content).digest("hex"),
  };
}

/** Name and prefix are split at the first slash that leaves 100 bytes or fewer for the name. */
function valueFile(expected: ExpectedFile, content: Buffer, mtime: number): Buffer {
  const { path } = expected;
  const slash = path.length > 100 ? path.indexOf("/", path.length - 101) : -1;
  return tarFile(
    {
      prefix: path.slice(0, Math.max(slash, 0)),
      name: path.slice(slash + 1),
      mode: octal(Number.parseInt(expected.mode, 8), 8),
      uid: octal(expected.uid, 8),
      gid: octal(expected.gid, 8),
      mtime: octal(mtime, 12),
      uname: expected.owner,
      gname: expected.group,
    },
    content,
  );
}

const longFolder = ["d".repeat(20), "e".repeat(20), "f".repeat(20)].join("/");

export function goodCases(): BundleCase[] {
  const one = { name: "db-password", path: "db-password", ...root };
  const three = ["a", "b", "c"].map((name) => ({ entry: { name, path: name, ...root }, content: Buffer.from(name) }));
  return [
    good("empty", "no secret at all", []),
    good("one-file", "one file of root, 0600", [{ entry: one, content: Buffer.from("correct horse\n") }]),
    good("env-only", "a variable, which is no file in the guest", [
      { entry: { name: "api-key", env: "API_KEY" }, content: Buffer.from("k1\nk2\n") },
    ]),
    good("long-env", "a variable's name of 100 bytes, so that its path needs the prefix", [
      { entry: { name: "long", env: "V".repeat(100) }, content: Buffer.from("v") },
    ]),
    good("owner-name", "owner and group by name, resolved in the guest", [
      {
        entry: { name: "tls.key", path: "tls/key.pem", mode: "0440", owner: "www-data", group: "ssl-cert" },
        content: filled(100),
      },
    ]),
    good("owner-31", "the longest owner, with a numeric group", [
      { entry: { name: "a", path: "a", mode: "0400", owner: "o".repeat(31), gid: 7 }, content: Buffer.from("a") },
    ]),
    good("long-path", "paths of 100, 101 and 150 bytes", [
      { entry: { name: "a", path: `${longFolder}/${"x".repeat(37)}`, ...root }, content: Buffer.from("a") },
      { entry: { name: "b", path: `${longFolder}/${"x".repeat(38)}`, ...root }, content: Buffer.from("b") },
      { entry: { name: "c", path: `${"y".repeat(49)}/${"x".repeat(100)}`, ...root }, content: Buffer.from("c") },
    ]),
    good("deep-path", "a path of eight components", [
      { entry: { name: "a", path: "a/b/c/d/e/f/g/h", ...root }, content: Buffer.from("a") },
    ]),
    good("zero-bytes", "a value of 0 bytes", [{ entry: one, content: Buffer.alloc(0) }]),
    good(
      "block-sizes",
      "values of 511, 512, 513 and 1,024 bytes, a block's edges",
      [511, 512, 513, 1024].map((size) => ({
        entry: { name: `s${size}`, path: `s${size}`, ...root },
        content: filled(size),
      })),
    ),
    good("binary", "a value of all 256 bytes, twice", [
      { entry: one, content: Buffer.from(Array.from({ length: 512 }, (_, at) => at % 256)) },
    ]),
    good("zero-value", "a value of two zero blocks, which do not end the bundle", [
      { entry: one, content: Buffer.alloc(1024) },
    ]),
    good("partial", "a live answer that carries the first and the third of three values", [
      three[0] as GoodEntry,
      { ...(three[1] as GoodEntry), absent: true },
      three[2] as GoodEntry,
    ]),
    good(
      "nothing-changed",
      "a live answer that carries no value",
      three.map((entry) => Object.assign({ absent: true }, entry)),
    ),
    good("largest", "the largest ids, version and mtime, and the widest mode", [
      {
        entry: { name: "a", version: 9_007_199_254_740_991, path: "a", mode: "0777", uid: 2_097_151, gid: 2_097_151 },
        content: Buffer.from("a"),
        mtime: 0o77777777777,
      },
    ]),
    good(
      "everything",
      "file, variable, link and reaction in one entry; another mount root",
      [
        {
          entry: {
            ...one,
            env: "DB_PASSWORD",
            link: "/etc/app/db-password",
            onChange: { signal: "HUP", pidFile: "/run/app.pid" },
          },
          content: Buffer.from("x"),
        },
        {
          entry: { name: "e", env: "E", onChange: { exec: ["/bin/sh", "-c", 'echo "\\"'] } },
          content: Buffer.from("y"),
        },
      ],
      { mountRoot: "/run/secrets" },
    ),
  ];
}
