// Connection URIs: which daemon a client talks to. The forms are libvirt's (https://libvirt.org/uri.html).
import { HatchwayError } from "#error";
import { sessionPlaces, systemPlaces } from "#places";
import { checkSocketPath } from "#socket-path";

/** Where a daemon may be. The first of `sockets` that answers is the one. */
export interface Target {
  sockets: readonly string[];
  /** How to get a daemon there. */
  startHint: string;
}

const FORMS = "secret:///system, secret:///session or unix:///path/to.sock";

/**
 * Reads a connection URI. Undefined means the user's session daemon if it runs, else the system's. Throws "unsupported"
 * for a form of libvirt's that this version lacks, "invalid" for anything else; neither repeats the URI beyond its
 * scheme, since one can hold a password.
 */
export function parseTarget(uri: string | undefined, env: NodeJS.ProcessEnv, uid: number): Target {
  const session = sessionPlaces(env, uid).socket;
  const system = systemPlaces().socket;
  if (uri === undefined || uri === "") {
    return target([session, system], "start one with: hatchway serve --session");
  }
  if (uri === "secret:///session") return target([session], "start one with: hatchway serve --session");
  if (uri === "secret:///system") return target([system], "start one with: hatchway serve --system");
  if (uri.startsWith("unix://")) return target([socketPath(uri)], "see that the path is right and its daemon runs");
  const scheme = /^(secret(?:\+(?:unix|tls|tcp|ssh|libssh2?|ext))?):/.exec(uri)?.[1];
  if (scheme !== undefined) {
    throw new HatchwayError("unsupported", `this form of a "${scheme}:" connection is not in this version`, {
      hint: `connect with ${FORMS}`,
    });
  }
  throw new HatchwayError("invalid", "the connection is not a URI that hatchway knows", {
    hint: `connect with ${FORMS}`,
  });
}

function target(sockets: readonly string[], startHint: string): Target {
  for (const path of sockets) {
    checkSocketPath(path, "choose a shorter XDG_RUNTIME_DIR, or connect with unix:///path/to.sock");
  }
  return { sockets, startHint };
}

function socketPath(uri: string): string {
  try {
    const path = decodeURIComponent(uri.slice("unix://".length));
    if (path.startsWith("/") && !path.includes("\0")) return path;
  } catch (cause) {
    throw new HatchwayError("invalid", "the path of the unix: connection is not percent-encoded as it should be", {
      cause,
    });
  }
  throw new HatchwayError("invalid", "a unix: connection names no absolute path", {
    hint: "write it as unix:///path/to.sock",
  });
}
