// Where a daemon keeps its state and listens, by mode. The daemon and its clients find each other by this alone.
import { statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** Absolute paths. */
export interface Places {
  /** The folder of the store, the audit trail and the VMs. */
  state: string;
  /** The configuration file. */
  config: string;
  /** The folder of the sockets; on tmpfs where there is one. */
  runtime: string;
  /** The socket of the admin API, in `runtime`. */
  socket: string;
}

/** Of the one daemon that serves the machine. */
export function systemPlaces(): Places {
  return {
    state: "/var/lib/hatchway",
    config: "/etc/hatchway/config.yaml",
    runtime: "/run/hatchway",
    socket: "/run/hatchway/hatchway.sock",
  };
}

/**
 * Of a user's own daemon, after the XDG Base Directory Specification: a variable that is empty or not absolute counts
 * as unset. Without XDG_RUNTIME_DIR the sockets are in `userRuntime`/UID if that folder is ours, else under the state.
 */
export function sessionPlaces(env: NodeJS.ProcessEnv, uid: number, userRuntime = "/run/user"): Places {
  const home = absolute(env["HOME"]) ?? homedir();
  const state = join(absolute(env["XDG_STATE_HOME"]) ?? join(home, ".local/state"), "hatchway");
  const config = join(absolute(env["XDG_CONFIG_HOME"]) ?? join(home, ".config"), "hatchway/config.yaml");
  const base = absolute(env["XDG_RUNTIME_DIR"]) ?? ownFolder(join(userRuntime, String(uid)), uid);
  const runtime = base === undefined ? join(state, "run") : join(base, "hatchway");
  return { state, config, runtime, socket: join(runtime, "hatchway.sock") };
}

function absolute(path: string | undefined): string | undefined {
  return path?.startsWith("/") === true ? path : undefined;
}

function ownFolder(path: string, uid: number): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isDirectory() === true && found.uid === uid ? path : undefined;
}
