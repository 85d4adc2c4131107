import type { ServerResponse } from "node:http";
import type { Encoding } from "#bundle/image";
import { HatchwayError } from "#error";

/**
 * Answers with an encoding of a bundle. The first bytes come once the disclosure is audited; a refusal before that is an
 * answer like any other.
 */
export async function sendBytes(
  outgoing: ServerResponse,
  type: string,
  encoding: Encoding,
  signal: AbortSignal,
): Promise<void> {
  await encoding.writeTo(async (bytes) => {
    if (!outgoing.headersSent) startBytes(outgoing, type, encoding.size);
    if (bytes.length > 0) await written(outgoing, bytes, signal);
  });
  outgoing.end();
}

export function startBytes(outgoing: ServerResponse, type: string, size: number): void {
  outgoing.writeHead(200, { "content-type": type, "content-length": size });
}

/** Resolves when the kernel has `bytes`: only then may they be wiped. */
async function written(outgoing: ServerResponse, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const gone = (): void => reject(new HatchwayError("invalid", "the client closed before it had the bundle"));
  signal.addEventListener("abort", gone, { once: true });
  outgoing.write(bytes, (error) => (error ? reject(error) : resolve()));
  if (signal.aborted) gone();
  try {
    await promise;
  } finally {
    signal.removeEventListener("abort", gone);
  }
}
