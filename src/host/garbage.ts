import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Has V8 collect its garbage now. OpenSSL wipes its copy of a key when the object of node:crypto that holds it is
 * collected, and V8 would let small objects lie for as long as nothing else needs room. Node gives no other way to ask
 * for it than V8's own flag, which shows in new contexts.
 */
export function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}
