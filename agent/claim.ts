// The claim: within one VM generation the first client that presents a key owns the guest API, and later requests carry
// the key. It is made once a boot, and written under .agent, which only root can enter, before it is first sent: an agent
// that is killed in between comes back with the same key.
import type { Root } from "./root.ts";
import type { Sys } from "./sys.ts";
import { hexBytes } from "./text.ts";
import { readFile, replaceFile, statOrNone } from "./tree.ts";

const FILE = "claim";
const HEX_BYTES = 64;

/** 64 hex digits, as bytes; made where there is none. */
export function claimKey(sys: Sys, root: Root): Uint8Array {
  const kept = keptClaimKey(sys, root);
  if (kept) return kept;
  const random = new Uint8Array(HEX_BYTES / 2);
  sys.getrandom(random);
  keepClaimKey(sys, root, random);
  sys.wipe(random);
  return claimKey(sys, root);
}

/** The same, undefined where there is none. */
export function keptClaimKey(sys: Sys, root: Root): Uint8Array | undefined {
  if (!statOrNone(sys, root.agent, FILE)) return undefined;
  const key = readFile(sys, root.agent, FILE, HEX_BYTES);
  return key.length === HEX_BYTES ? key : undefined;
}

/** Keeps a key of 32 bytes. */
export function keepClaimKey(sys: Sys, root: Root, key: Uint8Array): void {
  const digits = hexBytes(key);
  replaceFile(sys, root.agent, FILE, digits);
  sys.wipe(digits);
}
