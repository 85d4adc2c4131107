// The one place where a client loads what serves: an embedded store has no daemon, so the client's process is one. It is a
// bundle of its own beside this one, which nothing else loads.
import { HatchwayError, type ErrorCode } from "#error";

/** A store that this process has open. */
export interface EmbeddedStore {
  /** Of its admin API. */
  socket: string;
  close(): Promise<void>;
}

/** As the daemon's code, which has no older Node. */
const OLDEST_NODE = 24;

/** Throws HatchwayError: "locked", with the pid of the process that has that root. */
export async function openEmbeddedStore(root: string): Promise<EmbeddedStore> {
  if (Number(process.versions.node.split(".")[0]) < OLDEST_NODE) {
    throw new HatchwayError(
      "unsupported",
      `an embedded store needs Node ${OLDEST_NODE}, and this is ${process.version}`,
      {
        hint: "run a daemon, and connect to its socket",
      },
    );
  }
  // oxlint-disable-next-line no-restricted-imports -- without a daemon there is nobody else who could serve
  const { openEmbedded } = await import("#daemon/embedded");
  try {
    return await openEmbedded(root);
  } catch (thrown) {
    throw ours(thrown);
  }
}

/** The other bundle has an error class of its own, which `instanceof` does not take for ours. */
function ours(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || thrown.name !== "HatchwayError") return thrown;
  const { code, message, hint } = thrown as Error & { code: ErrorCode; hint?: string };
  return new HatchwayError(code, message, { cause: thrown, ...(hint !== undefined && { hint }) });
}
