// Symlinks from absolute guest paths into the set, so that no value ever lies on a guest's disk.
//
// A link is made only where no unprivileged process could have a say: every folder from / down is root's and not
// writable by others, and none is a symlink (each is opened below the one before it, O_NOFOLLOW). It replaces nothing but
// a link of ours: a symlink into our own set. What we made is recorded in .agent/links.json before it is made, so that a
// link is found again and removed when its grant goes, also after a kill.
import { asciiBytes, parseJson } from "#protocol/json";
import { DEFAULT_MOUNT_ROOT } from "#protocol/names";
import type { Manifest } from "#protocol/manifest";
import { AgentError, reason } from "./error.ts";
import type { Refusal } from "./receipt.ts";
import type { Root } from "./root.ts";
import { SET } from "./set.ts";
import { failedWith, HERE, type Fd, type Sys } from "./sys.ts";
import { hex } from "./text.ts";
import { isType, readFile, removeFile, replaceFile, S_IFLNK, statOrNone } from "./tree.ts";

const RECORD = "links.json";

/** A link that a manifest asks for. */
interface Link {
  /** The entry's name; "*" for the mount root's. */
  name: string;
  path: string;
  target: string;
}

/** Makes the manifest's links and removes those of before; what could not be made, with the reason. */
export function updateLinks(sys: Sys, root: Root, manifest: Manifest, refused: ReadonlySet<string>): Refusal[] {
  const wanted = linksOf(root, manifest).filter(({ name }) => !refused.has(name));
  const before = readRecord(sys, root);
  const paths = wanted.map(({ path }) => path);
  if (before.length === 0 && paths.length === 0) return [];
  writeRecord(sys, root, [...new Set([...before, ...paths])]);
  const problems: Refusal[] = [];
  const attempt = (name: string, path: string, act: (parent: Fd, file: string) => void): void => {
    try {
      inSafeParent(sys, path, act);
    } catch (error) {
      problems.push({ name, reason: `cannot link "${path}": ${reason(error)}` });
    }
  };
  for (const path of before) {
    if (paths.includes(path)) continue;
    attempt("*", path, (parent, file) => {
      if (stateOf(sys, root, parent, file) === "ours") removeFile(sys, parent, file);
    });
  }
  for (const { name, path, target } of wanted) {
    attempt(name, path, (parent, file) => makeLink(sys, root, parent, file, target));
  }
  writeRecord(sys, root, paths);
  return problems;
}

function linksOf(root: Root, manifest: Manifest): Link[] {
  const set = `${root.path}/${SET}`;
  const links: Link[] = [];
  if (manifest.mountRoot !== DEFAULT_MOUNT_ROOT && manifest.mountRoot !== set) {
    links.push({ name: "*", path: manifest.mountRoot, target: set });
  }
  for (const { name, file } of manifest.entries) {
    if (file?.link !== undefined) links.push({ name, path: file.link, target: `${set}/${file.path}` });
  }
  return links;
}

function makeLink(sys: Sys, root: Root, parent: Fd, file: string, target: string): void {
  const state = stateOf(sys, root, parent, file);
  if (state === "foreign") throw new AgentError("machine", "something that is not hatchway's is there");
  if (state === "ours" && sys.readlinkat(parent, file) === target) return;
  if (state === "none") {
    sys.symlinkat(target, parent, file);
    return;
  }
  const random = new Uint8Array(8);
  sys.getrandom(random);
  const fresh = `.hatchway-${hex(random)}`;
  sys.symlinkat(target, parent, fresh);
  sys.renameat(parent, fresh, parent, file, 0);
}

function stateOf(sys: Sys, root: Root, parent: Fd, file: string): "none" | "ours" | "foreign" {
  const stat = statOrNone(sys, parent, file);
  if (!stat) return "none";
  if (!isType(stat, S_IFLNK)) return "foreign";
  const target = sys.readlinkat(parent, file);
  const set = `${root.path}/${SET}`;
  return target === set || target.startsWith(`${set}/`) ? "ours" : "foreign";
}

/** Calls `act` with the folder of `path`, each folder on the way checked. */
function inSafeParent(sys: Sys, path: string, act: (parent: Fd, file: string) => void): void {
  const components = path.split("/").slice(1);
  const file = components.pop() ?? "";
  const step = sys.O_PATH | sys.O_DIRECTORY | sys.O_NOFOLLOW;
  let at = sys.openat(HERE, "/", step);
  let walked = "";
  try {
    for (const component of components) {
      refuseOthers(sys, at, walked || "/");
      walked += `/${component}`;
      const below = openStep(sys, at, component, walked, step);
      sys.close(at);
      at = below;
    }
    refuseOthers(sys, at, walked || "/");
    act(at, file);
  } finally {
    sys.close(at);
  }
}

function openStep(sys: Sys, at: Fd, component: string, walked: string, flags: number): Fd {
  try {
    return sys.openat(at, component, flags);
  } catch (cause) {
    if (failedWith(cause, "ENOTDIR", "ELOOP")) {
      throw new AgentError("machine", `"${walked}" is not a folder, or is a symlink`, { cause });
    }
    if (failedWith(cause, "ENOENT")) throw new AgentError("machine", `"${walked}" does not exist`, { cause });
    throw cause;
  }
}

function refuseOthers(sys: Sys, dir: Fd, path: string): void {
  const { uid, mode } = sys.fstat(dir);
  if (uid === 0 && (mode & 0o022) === 0) return;
  throw new AgentError("machine", `"${path}" must be root's and not writable by others`);
}

function readRecord(sys: Sys, root: Root): string[] {
  if (!statOrNone(sys, root.agent, RECORD)) return [];
  const json = parseJson(readFile(sys, root.agent, RECORD, 4_194_304), RECORD);
  if (!Array.isArray(json)) throw new AgentError("machine", `"${root.path}/.agent/${RECORD}" is not a list`);
  return json.filter((path) => typeof path === "string");
}

function writeRecord(sys: Sys, root: Root, paths: readonly string[]): void {
  replaceFile(sys, root.agent, RECORD, asciiBytes(JSON.stringify(paths)));
}

/** `env` in the root, a link to the folder of the environment file in the set; relative, so that it works in a bind mount. */
export function linkEnvironment(sys: Sys, root: Root): void {
  const target = `${SET}/.hatchway/env`;
  const stat = statOrNone(sys, root.fd, "env");
  if (stat && isType(stat, S_IFLNK) && sys.readlinkat(root.fd, "env") === target) return;
  removeFile(sys, root.fd, "env");
  sys.symlinkat(target, root.fd, "env");
}
