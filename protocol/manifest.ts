// The manifest: what a VM has, at one revision, without any value. JSON in printable ASCII, keys in the order below, no
// space: equal grants give equal bytes, and other bytes are refused. Drawn in docs/formats.md.
import { ProtocolError } from "./error.ts";
import { ascii, asciiBytes, parseJson, type Json, type JsonObject } from "./json.ts";
import {
  DEFAULT_MOUNT_ROOT,
  envNameProblem,
  idProblem,
  linkProblem,
  MAX_BUNDLE_SIZE,
  MAX_ENTRIES,
  MAX_VALUE_SIZE,
  modeProblem,
  pathProblem,
  RESERVED_FOLDER,
  revisionProblem,
  secretNameProblem,
  userNameProblem,
  vmNameProblem,
} from "./names.ts";

/** What the agent does in the guest once a changed value is in place. */
export type OnChange =
  | { reload: string }
  | { restart: string }
  | { signal: string; pidFile: string }
  | { exec: readonly string[] };

/** Where a value becomes a file, and who may read it there. */
export interface FileTarget {
  /** Relative to the mount root. */
  path: string;
  /** Four octal digits. */
  mode: string;
  /** Number, or a user name that is resolved in the guest. */
  user: number | string;
  group: number | string;
  /** An absolute guest path that becomes a symlink to the file. */
  link?: string;
}

/** One secret of a bundle: at least one of `file` and `env` is there. */
export interface ManifestEntry {
  name: string;
  /** The secret's version, from 1. */
  version: number;
  /** Bytes of the value. */
  size: number;
  file?: FileTarget;
  env?: string;
  onChange?: OnChange;
}

export interface Manifest {
  format: 1;
  vm: string;
  revision: string;
  /** Absolute guest path. */
  mountRoot: string;
  entries: ManifestEntry[];
}

/** The manifest's own bytes, at most: 4,096 entries of 1 KiB. */
export const MAX_MANIFEST_SIZE = 4_194_304;

/** The name of an entry's value in a tar stream or file tree: its path, or a reserved one when it is only a variable. */
export function entryPath(entry: ManifestEntry): string {
  return entry.file ? entry.file.path : `${RESERVED_FOLDER}/values/${entry.env ?? entry.name}`;
}

export function encodeManifest(manifest: Manifest): Uint8Array {
  return asciiBytes(textOfManifest(manifest));
}

function textOfManifest(manifest: Manifest): string {
  const entries = manifest.entries.map(({ name, version, size, file, env, onChange }) => ({
    name,
    version,
    size,
    ...(file && {
      path: file.path,
      mode: file.mode,
      ...(typeof file.user === "number" ? { uid: file.user } : { owner: file.user }),
      ...(typeof file.group === "number" ? { gid: file.group } : { group: file.group }),
    }),
    ...(env !== undefined && { env }),
    ...(file?.link !== undefined && { link: file.link }),
    ...(onChange && { onChange: orderedOnChange(onChange) }),
  }));
  const { format, vm, revision, mountRoot } = manifest;
  return JSON.stringify({ format, vm, revision, mountRoot, entries });
}

/** One order of keys, whatever order the object was made in. */
function orderedOnChange(onChange: OnChange): OnChange {
  if (!("signal" in onChange)) return onChange;
  const { signal, pidFile } = onChange;
  return { signal, pidFile };
}

/**
 * Reads and checks a manifest; throws ProtocolError that names the entry and the rule. Accepted are only the bytes that
 * `encodeManifest` would write: no space, no other order of keys, no escape that could be a plain character.
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  if (bytes.length > MAX_MANIFEST_SIZE) throw new ProtocolError(`manifest: ${bytes.length} bytes, more than 4 MiB`);
  const said = ascii(bytes, "manifest");
  const read = canonicalOf(said);
  if (read) return read;
  // Not as it should be: the strict reader says in which way.
  const manifest = manifestOf(parseJson(bytes, "manifest"));
  const again = textOfManifest(manifest);
  const differs = Array.from(again).findIndex((char, at) => char !== said[at]);
  throw new ProtocolError(`manifest: byte ${differs < 0 ? again.length : differs} is not canonical`);
}

/**
 * The manifest of a text that is as `encodeManifest` writes it. JSON.parse takes more than that, but what it makes of such
 * a text is then written as another one. It is ten times as fast as a reader of ours in the agent's engine.
 */
function canonicalOf(said: string): Manifest | undefined {
  try {
    const manifest = manifestOf(JSON.parse(said) as Json);
    return textOfManifest(manifest) === said ? manifest : undefined;
  } catch (error) {
    // A stack that is too small for it is one too. The strict reader goes the same way again and says what is wrong.
    if (error instanceof Error) return undefined;
    throw error;
  }
}

function manifestOf(json: Json): Manifest {
  const top = object(json, "manifest");
  onlyKeys(top, ["format", "vm", "revision", "mountRoot", "entries"], "manifest");
  if (top["format"] !== 1) throw new ProtocolError("manifest: format is not 1");
  const list = top["entries"];
  if (!Array.isArray(list)) throw new ProtocolError("manifest: entries is not an array");
  const manifest: Manifest = {
    format: 1,
    vm: checked(top["vm"], vmNameProblem, "manifest: vm"),
    revision: checked(top["revision"], revisionProblem, "manifest: revision"),
    mountRoot: checked(top["mountRoot"], mountRootProblem, "manifest: mountRoot"),
    entries: list.map((entry, index) => parseEntry(entry, `manifest: entry ${index}`)),
  };
  checkEntries(manifest.entries, manifest.mountRoot);
  return manifest;
}

/**
 * The rules between entries: names, paths, variables and links are each used once, no file lies under another file, no
 * link under another link or on the way to the mount root or in it, and the whole fits. The host runs the same check
 * before it makes a bundle.
 */
export function checkEntries(entries: readonly ManifestEntry[], mountRoot: string = DEFAULT_MOUNT_ROOT): void {
  if (entries.length > MAX_ENTRIES) throw new ProtocolError(`${entries.length} entries, more than ${MAX_ENTRIES}`);
  const names = new Set<string>();
  const paths = new Set<string>();
  const variables = new Set<string>();
  const links = new Set<string>();
  let size = 0;
  for (const { name, file, env, size: bytes } of entries) {
    claim(names, name, "secret");
    if (file) claim(paths, file.path, "path");
    if (file?.link !== undefined) claim(links, file.link, "link");
    if (env !== undefined) claim(variables, env, "variable");
    size += bytes;
  }
  if (size > MAX_BUNDLE_SIZE) throw new ProtocolError(`values of ${size} bytes in all, more than 64 MiB`);
  for (const path of paths) {
    const parent = parents(path).find((folder) => paths.has(folder));
    if (parent !== undefined) throw new ProtocolError(`path "${path}" lies under the file "${parent}"`);
  }
  const rootParents = parents(mountRoot);
  for (const link of links) {
    const above = parents(link);
    const parent = above.find((folder) => links.has(folder));
    if (parent !== undefined) throw new ProtocolError(`link "${link}" lies under the link "${parent}"`);
    if (link === mountRoot || above.includes(mountRoot) || rootParents.includes(link)) {
      throw new ProtocolError(`link "${link}" collides with the mount root "${mountRoot}"`);
    }
  }
}

/** The folders above a path: "a" and "a/b" for "a/b/c"; "/a" for "/a/b". */
function parents(path: string): string[] {
  const folders: string[] = [];
  for (let at = path.indexOf("/", 1); at >= 0; at = path.indexOf("/", at + 1)) folders.push(path.slice(0, at));
  return folders;
}

function claim(taken: Set<string>, key: string, what: string): void {
  if (taken.has(key)) throw new ProtocolError(`${what} "${key}" is there twice`);
  taken.add(key);
}

const ENTRY_KEYS = "name version size path mode uid owner gid group env link onChange".split(" ");

function parseEntry(json: Json, at: string): ManifestEntry {
  const from = object(json, at);
  onlyKeys(from, ENTRY_KEYS, at);
  const entry: ManifestEntry = {
    name: checked(from["name"], secretNameProblem, `${at}: name`),
    version: integer(from["version"], 1, Number.MAX_SAFE_INTEGER, `${at}: version`),
    size: integer(from["size"], 0, MAX_VALUE_SIZE, `${at}: size`),
  };
  const file = parseFile(from, at);
  if (file) entry.file = file;
  if ("env" in from) entry.env = checked(from["env"], envNameProblem, `${at}: env`);
  if ("onChange" in from) entry.onChange = parseOnChange(from["onChange"], `${at}: onChange`);
  if (!entry.file && entry.env === undefined) throw new ProtocolError(`${at}: neither path nor env`);
  return entry;
}

function parseFile(from: JsonObject, at: string): FileTarget | undefined {
  if (!("path" in from)) {
    const stray = ["mode", "uid", "owner", "gid", "group", "link"].find((key) => key in from);
    if (stray !== undefined) throw new ProtocolError(`${at}: ${stray} without path`);
    return undefined;
  }
  const file: FileTarget = {
    path: checked(from["path"], pathProblem, `${at}: path`),
    mode: checked(from["mode"], modeProblem, `${at}: mode`),
    user: parseId(from, "uid", "owner", at),
    group: parseId(from, "gid", "group", at),
  };
  if ("link" in from) file.link = checked(from["link"], linkProblem, `${at}: link`);
  return file;
}

function parseId(from: JsonObject, number: string, name: string, at: string): number | string {
  if (number in from === name in from) throw new ProtocolError(`${at}: exactly one of ${number} and ${name}`);
  if (name in from) return checked(from[name], userNameProblem, `${at}: ${name}`);
  const id = integer(from[number], 0, Number.MAX_SAFE_INTEGER, `${at}: ${number}`);
  const problem = idProblem(id);
  if (problem !== undefined) throw new ProtocolError(`${at}: ${number} ${problem}`);
  return id;
}

const UNIT = /^[A-Za-z0-9:_.@-]{1,200}\.(?:service|socket|target|timer|path)$/;
const SIGNALS = new Set(["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "WINCH", "CONT"]);

export function parseOnChange(json: Json | undefined, at: string): OnChange {
  const from = object(json, at);
  const kind = Object.keys(from).toSorted().join(",");
  if (kind === "reload") return { reload: unit(from["reload"], at) };
  if (kind === "restart") return { restart: unit(from["restart"], at) };
  if (kind === "pidFile,signal") {
    const signal = text(from["signal"], at);
    if (!SIGNALS.has(signal)) throw new ProtocolError(`${at}: signal is not one of ${[...SIGNALS].join(" ")}`);
    return { signal, pidFile: absolute(from["pidFile"], `${at}: pidFile`) };
  }
  if (kind === "exec") {
    const argv = from["exec"];
    if (!Array.isArray(argv) || argv.length < 1 || argv.length > 16) {
      throw new ProtocolError(`${at}: exec is not an array of 1 to 16 strings`);
    }
    const words = argv.map((word) => text(word, at));
    if (words.some((word) => word.length > 200)) throw new ProtocolError(`${at}: exec has a word over 200 characters`);
    absolute(words[0], `${at}: exec`);
    return { exec: words };
  }
  throw new ProtocolError(`${at}: not one of reload, restart, signal with pidFile, exec`);
}

function unit(json: Json | undefined, at: string): string {
  const name = text(json, at);
  if (!UNIT.test(name) || name.startsWith("-")) throw new ProtocolError(`${at}: not a systemd unit's full name`);
  return name;
}

function absolute(json: Json | undefined, at: string): string {
  const path = text(json, at);
  const problem = path.startsWith("/") ? pathProblem(path.slice(1)) : "is not absolute";
  if (problem !== undefined) throw new ProtocolError(`${at}: "${path.slice(0, 150)}" ${problem}`);
  return path;
}

function mountRootProblem(root: string): string | undefined {
  return root === DEFAULT_MOUNT_ROOT ? undefined : linkProblem(root);
}

function object(json: Json | undefined, at: string): JsonObject {
  if (json === null || typeof json !== "object" || Array.isArray(json)) throw new ProtocolError(`${at}: not an object`);
  return json;
}

function onlyKeys(from: JsonObject, known: readonly string[], at: string): void {
  const unknown = Object.keys(from).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new ProtocolError(`${at}: unknown key "${unknown.slice(0, 40)}"`);
}

function text(json: Json | undefined, at: string): string {
  if (typeof json !== "string") throw new ProtocolError(`${at}: not a string`);
  const control = json.search(/[^\u0020-\u007e]/);
  if (control >= 0) throw new ProtocolError(`${at}: character ${control} is not printable ascii`);
  return json;
}

function checked(json: Json | undefined, problemOf: (value: string) => string | undefined, at: string): string {
  const value = text(json, at);
  const problem = problemOf(value);
  if (problem !== undefined) throw new ProtocolError(`${at}: "${value.slice(0, 150)}" ${problem}`);
  return value;
}

function integer(json: Json | undefined, least: number, most: number, at: string): number {
  if (typeof json !== "number" || !Number.isSafeInteger(json) || json < least || json > most) {
    throw new ProtocolError(`${at}: not an integer from ${least} to ${most}`);
  }
  return json;
}
