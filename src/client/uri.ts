// Connection URIs: which daemon a client talks to. The forms are libvirt's (https://libvirt.org/uri.html), and those of
// HTTP for a daemon that listens on a network.
import { isIP } from "node:net";
import { HatchwayError } from "#error";
import { sessionPlaces, systemPlaces } from "#places";
import { checkSocketPath } from "#socket-path";

/** Where a daemon may be. */
export type Target = SocketTarget | NetworkTarget | EmbeddedTarget;

/** A store that the client opens itself. */
export interface EmbeddedTarget {
  kind: "embedded";
  /** Absolute. */
  root: string;
}

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

const FORMS =
  "secret:///system, secret:///session, unix:///path/to.sock, http://127.0.0.1:port, https://host:port or embed:///root";

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
  if (uri.startsWith("unix://")) return socketAt(uri.slice("unix://".length));
  if (uri.startsWith("embed://")) return embeddedAt(uri.slice("embed://".length));
  const [, transport, what, query] = LIBVIRT.exec(uri) ?? [];
  if (what === "embed" && transport === undefined) return embeddedAt(parameterOf(query, "root"));
  if (what === "system" || what === "session") {
    if (query !== undefined) return socketAt(parameterOf(query, "socket"));
    return target([what === "system" ? system : session], `start one with: hatchway serve --${what}`);
  }
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

/** Of libvirt's forms, those of a daemon on this machine, and of none. */
const LIBVIRT = /^secret(\+unix)?:\/\/\/(system|session|embed)(?:\?(.*))?$/s;

/** The value of the only parameter that there may be. */
function parameterOf(query: string | undefined, name: "root" | "socket"): string {
  const [, value] = new RegExp(`^${name}=([^&;]*)$`).exec(query ?? "") ?? [];
  if (value !== undefined) return value;
  throw new HatchwayError("invalid", `that form of a connection has one parameter, ${name}`, {
    hint:
      name === "root" ? "write it as secret:///embed?root=/path" : "write it as secret:///system?socket=/path/to.sock",
  });
}

function socketAt(encoded: string): SocketTarget {
  const path = decodePath(encoded, "the socket of a connection", "write it as unix:///path/to.sock");
  return target([path], "see that the path is right and its daemon runs");
}

function embeddedAt(encoded: string): EmbeddedTarget {
  const how = "write it as embed:///path/of/the/root";
  const root = decodePath(encoded, "the root of an embedded store", how);
  const isPlain = root
    .split("/")
    .slice(1)
    .every((part) => part !== "" && part !== "." && part !== "..");
  if (isPlain) return { kind: "embedded", root };
  throw new HatchwayError("invalid", 'the root of an embedded store is "/", or has an empty, "." or ".." part', {
    hint: how,
  });
}

function decodePath(encoded: string, what: string, hint: string): string {
  let path: string;
  try {
    path = decodeURIComponent(encoded);
  } catch (cause) {
    throw new HatchwayError("invalid", `${what} is not percent-encoded as it should be`, { hint, cause });
  }
  if (path.startsWith("/") && !path.includes("\0")) return path;
  throw new HatchwayError("invalid", `${what} is not an absolute path`, { hint });
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
