// Connection URIs: which daemon a client talks to. The forms are libvirt's (https://libvirt.org/uri.html), and those of
// HTTP for a daemon that listens on a network.
import { isIP } from "node:net";
import { HatchwayError } from "#error";
import { sessionPlaces, systemPlaces } from "#places";
import { checkSocketPath } from "#socket-path";

/** Where a daemon may be. */
export type Target = SocketTarget | NetworkTarget;

export interface SocketTarget {
  kind: "socket";
  /** The first that answers is the one. */
  sockets: readonly string[];
  /** How to get a daemon there. */
  startHint: string;
}

export interface NetworkTarget {
  kind: "network";
  secure: boolean;
  host: string;
  port: number;
  files: CredentialFiles;
}

/** What a client on a network shows, and by what it knows the daemon; paths. */
export interface CredentialFiles {
  /** The bearer token, in a file that others cannot read. */
  token?: string;
  /** The client's certificate (PEM). */
  cert?: string;
  /** Its key, in a file that others cannot read; absent, it is in that of the certificate. */
  key?: string;
  /** The authority of the daemon's certificate (PEM); the public ones when absent. */
  ca?: string;
}

const FORMS = "secret:///system, secret:///session, unix:///path/to.sock, http://127.0.0.1:port or https://host:port";

/**
 * Reads a connection URI. Undefined means the user's session daemon if it runs, else the system's. Throws "unsupported"
 * for a form of libvirt's that this version lacks, "invalid" for anything else; neither repeats the URI beyond its
 * scheme, since one can hold a password.
 */
export function parseTarget(
  uri: string | undefined,
  env: NodeJS.ProcessEnv,
  uid: number,
  files: CredentialFiles = {},
): Target {
  const session = sessionPlaces(env, uid).socket;
  const system = systemPlaces().socket;
  if (uri === undefined || uri === "") {
    return target([session, system], "start one with: hatchway serve --session");
  }
  if (uri === "secret:///session") return target([session], "start one with: hatchway serve --session");
  if (uri === "secret:///system") return target([system], "start one with: hatchway serve --system");
  if (uri.startsWith("unix://")) return target([socketPath(uri)], "see that the path is right and its daemon runs");
  if (/^https?:/.test(uri)) return network(uri, env, files);
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

function target(sockets: readonly string[], startHint: string): SocketTarget {
  for (const path of sockets) {
    checkSocketPath(path, "choose a shorter XDG_RUNTIME_DIR, or connect with unix:///path/to.sock");
  }
  return { kind: "socket", sockets, startHint };
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

const NETWORK = /^(https?):\/\/(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+)):([0-9]{1,5})\/?$/i;

function network(uri: string, env: NodeJS.ProcessEnv, files: CredentialFiles): NetworkTarget {
  const [, scheme, v6, name, digits] = NETWORK.exec(uri) ?? [];
  const host = v6 ?? name;
  const port = Number(digits);
  if (host === undefined || port > 65_535 || (v6 !== undefined && isIP(v6) !== 6)) {
    throw new HatchwayError("invalid", "an http: or https: connection is a host and a port, and nothing else", {
      hint: "write it as http://127.0.0.1:8080, with the token in the file that HATCHWAY_TOKEN_FILE names",
    });
  }
  const secure = scheme === "https";
  if (!secure && host !== "::1" && host !== "localhost" && !(isIP(host) === 4 && host.startsWith("127."))) {
    throw new HatchwayError("invalid", "an http: connection to another machine would show the token to all between", {
      hint: "connect with https://host:port",
    });
  }
  const said = {
    token: env["HATCHWAY_TOKEN_FILE"],
    cert: env["HATCHWAY_CERT_FILE"],
    key: env["HATCHWAY_KEY_FILE"],
    ca: env["HATCHWAY_CA_FILE"],
    ...files,
  };
  const given = Object.fromEntries(Object.entries(said).filter(([, path]) => path !== undefined && path !== ""));
  return { kind: "network", secure, host, port, files: given };
}
