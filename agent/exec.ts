// `hatchway-agent exec -- CMD…`: this process becomes CMD, with the set's variables in its environment.
import { AgentError, reason } from "./error.ts";
import { concat } from "./http.ts";
import { forEachVariable } from "./install.ts";
import { variable } from "./notify.ts";
import type { Root } from "./root.ts";
import { readSet } from "./set.ts";
import { failedWith, HERE, type Sys } from "./sys.ts";
import { decodeUtf8, encodeUtf8 } from "./text.ts";
import { isType, S_IFDIR } from "./tree.ts";

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Exit codes as shells use them. */
export const CANNOT_RUN = 126;
export const NOT_FOUND = 127;

/** Returns only when the command cannot be run: 126 or 127, after saying why. */
export function become(sys: Sys, root: Root, argv: readonly Uint8Array[], complain: (line: string) => void): number {
  const environment = environmentOf(sys, root);
  const command = decodeUtf8(argv[0] ?? new Uint8Array());
  let code = NOT_FOUND;
  let problem = `"${command}" was not found`;
  for (const path of candidates(sys, command)) {
    try {
      sys.execve(path, argv, environment);
    } catch (error) {
      if (failedWith(error, "ENOENT", "ENOTDIR")) continue;
      code = CANNOT_RUN;
      problem = isDirectory(sys, path) ? `"${path}" is a directory` : `cannot run "${path}": ${reason(error)}`;
    }
  }
  for (const line of environment) sys.wipe(line);
  complain(problem);
  return code;
}

function candidates(sys: Sys, command: string): string[] {
  if (command.includes("/")) return [command];
  if (command === "") return [];
  const folders = (variable(sys, "PATH") ?? DEFAULT_PATH).split(":");
  return folders.map((folder) => `${folder === "" ? "." : folder}/${command}`);
}

function isDirectory(sys: Sys, path: string): boolean {
  try {
    return isType(sys.fstatat(HERE, path), S_IFDIR);
  } catch (error) {
    if (failedWith(error, "ENOENT", "ENOTDIR", "EACCES")) return false;
    throw error;
  }
}

/** The caller's environment, and over it the set's variables; all of one revision. */
function environmentOf(sys: Sys, root: Root): Uint8Array[] {
  const variables = readSet(sys, root, (set) => {
    const read = new Map<string, Uint8Array>();
    forEachVariable(sys, set.fd, set.manifest, (name, value) => {
      read.set(name, concat([encodeUtf8(`${name}=`), value]));
    });
    return read;
  });
  if (!variables) throw new AgentError("machine", "there is no set of secrets yet");
  const assignments = new Map<string, Uint8Array>();
  for (const line of sys.environment()) {
    const end = line.indexOf(0x3d);
    assignments.set(decodeUtf8(line.subarray(0, end < 0 ? line.length : end)), line);
  }
  for (const [name, line] of variables) assignments.set(name, line);
  return [...assignments.values()];
}
