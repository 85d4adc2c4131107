// What this guest shows to a host by TLS, in PEM (RFC 7468), as `hatchway pki guest --host` writes it:
//
//   Host: HOST:PORT                 where the host listens; may be absent
//   CERTIFICATE, PRIVATE KEY        the guest's own; further certificates of its chain stand before the key
//   CERTIFICATE ...                 the authorities that the host's certificate must come from
//
// Whoever can read the key is this guest to the host: so it is root's alone, and no claim is needed beside it.
import { asciiBytes } from "#protocol/json";
import { AgentError } from "./error.ts";
import { firmwareWord } from "./firmware-word.ts";
import { HERE, type Sys } from "./sys.ts";
import { decodeUtf8 } from "./text.ts";
import { isType, readAll, S_IFREG, statOrNone, using } from "./tree.ts";

export const DEFAULT_IDENTITY = "/etc/hatchway/tls.pem";
const MAX_SIZE = 65_536;
const KEY_END = asciiBytes("PRIVATE KEY-----");
const CERTIFICATE = asciiBytes("-----BEGIN CERTIFICATE-----");
const HOST_LINE = /^Host: ([\u0021-\u007e]{1,300})\n/;

export interface Identity {
  /** HOST:PORT, where it says so. */
  host?: string;
  /** Views into `bytes`, which the caller wipes. */
  own: Uint8Array;
  authorities: Uint8Array;
  bytes: Uint8Array;
}

/** From the file that is named; else from the firmware, else from `DEFAULT_IDENTITY`. Undefined where none of these is. */
export function findIdentity(sys: Sys, path: string | undefined): Identity | undefined {
  if (path !== undefined) return parseIdentity(sys, readOwn(sys, path), path);
  const word = firmwareWord(sys, "tls");
  if (word) return parseIdentity(sys, word, "tls of the firmware");
  if (!statOrNone(sys, HERE, DEFAULT_IDENTITY)) return undefined;
  return parseIdentity(sys, readOwn(sys, DEFAULT_IDENTITY), DEFAULT_IDENTITY);
}

function readOwn(sys: Sys, path: string): Uint8Array {
  return using(sys, sys.openat(HERE, path, sys.O_RDONLY | sys.O_NONBLOCK), (fd) => {
    const stat = sys.fstat(fd);
    if (isType(stat, S_IFREG) && stat.uid === 0 && (stat.mode & 0o077) === 0) return readAll(sys, fd, MAX_SIZE, path);
    const mode = (stat.mode & 0o777).toString(8);
    throw new AgentError(
      "machine",
      `"${path}" should be a file of root alone, 0600, it is uid ${stat.uid}'s, mode ${mode}`,
    );
  });
}

export function parseIdentity(sys: Sys, bytes: Uint8Array, what: string): Identity {
  const keyEnd = find(bytes, KEY_END, "last") + KEY_END.length;
  const own = bytes.subarray(0, keyEnd);
  const authorities = bytes.subarray(keyEnd);
  if (keyEnd < KEY_END.length || find(own, CERTIFICATE) < 0 || find(authorities, CERTIFICATE) < 0) {
    sys.wipe(bytes);
    const wanted = "a certificate, its key, and behind them the host's authority, all in PEM";
    throw new AgentError("machine", `"${what}" should hold ${wanted}`);
  }
  const begin = own.subarray(0, Math.min(find(own, CERTIFICATE), 400));
  const [, host] = HOST_LINE.exec(decodeUtf8(begin)) ?? [];
  return { own, authorities, bytes, ...(host !== undefined && { host }) };
}

/** Where the first, or last, `wanted` begins; -1 where there is none. */
function find(bytes: Uint8Array, wanted: Uint8Array, which: "first" | "last" = "first"): number {
  let found = -1;
  for (let at = bytes.indexOf(wanted[0] ?? 0); at >= 0; at = bytes.indexOf(wanted[0] ?? 0, at + 1)) {
    if (!wanted.every((byte, offset) => bytes[at + offset] === byte)) continue;
    found = at;
    if (which === "first") break;
  }
  return found;
}
