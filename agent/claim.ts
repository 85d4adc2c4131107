// The claim: within one VM generation the first client that presents a key owns the guest API, and later requests carry
// the key. It is made once a boot, and written under .agent, which only root can enter, before it is first sent: an agent
// that is killed in between comes back with the same key.
import type { Root } from "./root.ts";
import type { Sys } from "./sys.ts";
import { encodeUtf8, hex } from "./text.ts";
import { readFile, replaceFile, statOrNone } from "./tree.ts";

const FILE = "claim";
const HEX_BYTES = 64;

/** 64 hex digits, as bytes. */
export function claimKey(sys: Sys, root: Root): Uint8Array {
  if (statOrNone(sys, root.agent, FILE)) {
    const key = readFile(sys, root.agent, FILE, HEX_BYTES);
    if (key.length === HEX_BYTES) return key;
  }
  const random = new Uint8Array(HEX_BYTES / 2);
  sys.getrandom(random);
  const key = encodeUtf8(hex(random));
  sys.wipe(random);
  replaceFile(sys, root.agent, FILE, key);
  return key;
}
