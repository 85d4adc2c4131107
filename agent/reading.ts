import { AgentError } from "./error.ts";
import { SysError } from "./sys.ts";

/**
 * What the kernel refuses while a source is read is about the source, which may still come, and not about the set that is
 * being built: AgentError "host-gone".
 */
export function reading<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    if (!(cause instanceof SysError)) throw cause;
    throw new AgentError("host-gone", `cannot read ${what}: ${cause.message}`, { cause });
  }
}
